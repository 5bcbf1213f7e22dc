"""A name becomes a model that knows its own ordered stages. The only import of timm models."""
