"""2. Which point next: the Optuna study is the sweep's ledger. The only import of optuna."""

from sweeper.search.ledger import Ledger, open_ledger, require_no_ledger, storage_url

__all__ = ["Ledger", "open_ledger", "require_no_ledger", "storage_url"]
