"""How good is the best trial after so many epochs: sweeps simulated on learning curves, ours beside Optuna's samplers.

    python benchmarks/search.py --yahpo <folder> [--seeds 12] [--results runs.jsonl]
    python benchmarks/search.py --toy
    python benchmarks/search.py --speed

Curves come from the YAHPO-LCBench surrogate (Pfisterer et al., 2022): validation accuracy of 8 data sets. A simulated
sweep is a real Optuna study with sweeper's sampler and stop rule, workers in virtual time; trials report at the rungs.
"""

from __future__ import annotations

import argparse
import heapq
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import Trial, TrialState

from sweeper import records
from sweeper.records import ParamValue
from sweeper.search.advice import Advice
from sweeper.search.algorithms import pruner_for, sampler_for
from sweeper.search.attributes import EPOCH
from sweeper.search.curves import CurveSearch
from sweeper.search.curves.observation import Observation
from sweeper.search.curves.space import Space
from sweeper.search.point import suggest_point
from sweeper.spec import SweepSpec

Floats = NDArray[np.float64]
Point = Mapping[str, ParamValue]
EPOCHS: Final = 52
STEPS: Final = (2, 6, 18, EPOCHS)
BUDGETS: Final = (5.0, 12.5, 25.0)  # full trainings
SPACE: Final = {
    "batch_size": {"log_int": [16, 512]},
    "learning_rate": {"log": [1e-4, 0.1]},
    "momentum": {"uniform": [0.1, 0.99]},
    "weight_decay": {"uniform": [1e-5, 0.1]},
    "num_layers": {"int": [1, 5]},
    "max_units": {"log_int": [64, 1024]},
    "max_dropout": {"uniform": [0.0, 1.0]},
}


@dataclass(frozen=True)
class Method:
    """A way to search."""

    sampler: str
    asha: bool = True
    as_ray: bool = False
    """Stopped trials are told as complete with their last value, as Ray Tune tells Optuna."""
    search: Mapping[str, Any] = field(default_factory=dict)


METHODS: Final = {
    "random": Method("random", asha=False),
    "TPE": Method("tpe", asha=False),
    "ASHA + random": Method("random"),
    "ASHA + TPE, told as Ray does": Method("tpe", as_ray=True),
    "curves": Method("curves"),
}


class Problem(Protocol):
    """What a simulated trial does."""

    steps: tuple[int, ...]
    """Epochs at which a trial reports; the last one is its end."""

    def spec(self, method: Method, seed: int) -> SweepSpec:
        """Returns the sweep."""

    def curve(self, point: Point) -> Sequence[float]:
        """Returns the objective at the steps, larger is better."""

    def seconds(self, point: Point) -> float | None:
        """Returns what an epoch takes; None where the sampler is not told."""


@dataclass
class Run:
    """One simulated sweep."""

    ends: list[tuple[float, float]] = field(default_factory=list)
    """(epochs or seconds spent by all workers, final value) of each finished trial."""
    backbones: list[str] = field(default_factory=list)
    trials: int = 0
    milliseconds: float = 0.0  # CPU time of a suggestion, mean

    def best(self, spent: float, least: float) -> float:
        """Returns the best final value within a budget."""
        return max((value for at, value in self.ends if at <= spent), default=least)


@dataclass
class _Running:
    trial: Trial
    judged: Trial
    curve: Sequence[float]
    seconds: float | None
    step: int = 0


def simulate(problem: Problem, method: Method, seed: int, *, workers: int, budget: float) -> Run:
    """Runs a sweep until the workers have spent the budget: epochs, or seconds where the problem has them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = problem.spec(method, seed)
    curves = CurveSearch(spec, Advice())
    study = optuna.create_study(direction="maximize", pruner=pruner_for(spec))
    # Ray's scheduler decides by itself; Optuna hears of final values only.
    judge = optuna.create_study(direction="maximize", pruner=pruner_for(spec)) if method.as_ray else study
    run, queue, order = Run(), list[tuple[float, int, _Running]](), 0

    def begin(now: float) -> None:
        nonlocal order
        study.sampler = sampler_for(spec, run.trials, curves)
        clock = time.process_time()
        trial = study.ask()
        point = suggest_point(trial, spec)
        run.milliseconds += 1e3 * (time.process_time() - clock)
        run.trials += 1
        run.backbones.append(str(point.get("backbone")))
        started = _Running(trial, judge.ask() if method.as_ray else trial, problem.curve(point), problem.seconds(point))
        order += 1
        heapq.heappush(queue, (now + problem.steps[0] * (started.seconds or 1.0), order, started))

    for _ in range(workers):
        begin(0.0)
    while queue and queue[0][0] * workers <= budget:
        now, _, at = heapq.heappop(queue)
        if _goes_on(problem, study, judge, at):
            at.step, order = at.step + 1, order + 1
            gap = problem.steps[at.step] - problem.steps[at.step - 1]
            heapq.heappush(queue, (now + gap * (at.seconds or 1.0), order, at))
            continue
        if at.step == len(problem.steps) - 1:
            run.ends.append((now * workers, at.curve[-1]))
        if run.trials < spec.search.trials:
            begin(now)
    run.milliseconds /= run.trials
    return run


def _goes_on(problem: Problem, study: optuna.Study, judge: optuna.Study, at: _Running) -> bool:
    epoch, value = problem.steps[at.step], float(at.curve[at.step])
    at.judged.report(value, epoch)
    if at.seconds is not None:
        at.trial.set_user_attr(f"{EPOCH}{epoch}", {"train_seconds": at.seconds, "eval_seconds": 0.0})
    is_last = epoch == problem.steps[-1]
    if not is_last and not at.judged.should_prune():
        return True
    if judge is not study:
        judge.tell(at.judged, value if is_last else None, state=TrialState.COMPLETE if is_last else TrialState.PRUNED)
    told_complete = is_last or judge is not study
    study.tell(at.trial, value if told_complete else None, state=None if told_complete else TrialState.PRUNED)
    return False


class Surrogate:
    """Learning curves of one data set of LCBench."""

    steps: tuple[int, ...] = STEPS

    def __init__(self, folder: Path, instance: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._category = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"][instance]
        space = Space(self.spec(METHODS["random"], 0))
        rows = space.settled(np.random.default_rng(0).random((1500, len(space.axes))))
        ends = self._curves([space.point(row) for row in rows])[:, -1]
        self.worst, self.top = float(ends.min()), float(ends.max())

    def spec(self, method: Method, seed: int) -> SweepSpec:
        """Returns the sweep."""
        stop = {"asha": {"grace_epochs": STEPS[0], "reduction": 3}} if method.asha else "none"
        return SweepSpec.model_validate({
            "name": "lcbench", "data": {"source": "digits"}, "backbone": "mlp", "train": {"epochs": EPOCHS},
            "space": SPACE, "seed": seed, "search": {"trials": 1000, "sampler": method.sampler, "stop": stop},
        })  # fmt: skip

    def curve(self, point: Point) -> Sequence[float]:
        """Returns validation accuracy in percent."""
        values: list[float] = self._curves([point])[0].tolist()
        return values

    def seconds(self, point: Point) -> None:
        """An epoch counts, whatever it takes."""

    def _curves(self, points: Sequence[Point]) -> Floats:
        settings = np.array([[float(point[name] or 0) for name in SPACE] for point in points], dtype=np.float32)
        epochs = np.tile(np.array(STEPS, dtype=np.float32), len(points))
        numbers = np.column_stack([epochs, np.repeat(settings, len(STEPS), axis=0)])
        names = np.full((len(numbers), 1), self._category, dtype=np.int32)
        # Columns: time, validation accuracy, cross entropy and balanced accuracy, the last two also on the test split.
        outputs = self._session.run(None, {"x_cont": numbers, "x_cat": names})[0]
        return np.asarray(outputs[:, 1], dtype=np.float64).reshape(len(points), len(STEPS))


def instances(folder: Path, first: int) -> list[str]:
    """Returns every fourth instance from `first` on, eight of them."""
    parameters = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
    return [str(name) for p in parameters if p["name"] == "OpenML_task_id" for name in p["choices"][first::4][:8]]


Key = tuple[str, str, int, int]  # instance, method, workers, seed


def all_runs(problems: Mapping[str, Surrogate], keys: Sequence[Key], results: Path | None) -> dict[Key, Run]:
    """Returns the runs, those in the file `results` from there; a run is added to it as soon as it is done."""
    runs: dict[Key, Run] = {}
    if results is not None and results.exists():
        for line in results.read_text().splitlines():
            name, method, workers, seed, ends, trials, milliseconds = json.loads(line)
            runs[name, method, workers, seed] = Run([(at, v) for at, v in ends], [], trials, milliseconds)
    for key in keys:
        if key in runs:
            continue
        name, method, workers, seed = key
        run = simulate(problems[name], METHODS[method], seed, workers=workers, budget=BUDGETS[-1] * EPOCHS)
        runs[key] = run
        if results is not None:
            with results.open("a") as file:
                file.write(json.dumps([*key, run.ends, run.trials, run.milliseconds]) + "\n")
    return {key: runs[key] for key in keys}


def lcbench_table(problems: Mapping[str, Surrogate], runs: Mapping[Key, Run]) -> Iterator[str]:
    """Yields a Markdown table: regret by the project's reference (the best of 1,500 random points or the run's own
    best), and against the best that any run of the table found (strong); over the range of the random points."""
    found: dict[str, float] = {name: problem.top for name, problem in problems.items()}
    for (name, *_), run in runs.items():
        found[name] = max([found[name], *(value for _, value in run.ends)])
    regrets = " | ".join(f"regret at {budget:g}" for budget in BUDGETS)
    yield f"| method | workers | runs | {regrets} | strong at {BUDGETS[-1]:g} | trials | ms |"
    yield "|---" * (6 + len(BUDGETS)) + "|"
    for method, workers in dict.fromkeys((key[1], key[2]) for key in runs):
        mine = {key: run for key, run in runs.items() if key[1:3] == (method, workers)}
        cells = [_cell(_regrets(problems, mine, budget, None)) for budget in BUDGETS]
        cells.append(_cell(_regrets(problems, mine, BUDGETS[-1], found)))
        trials = np.mean([run.trials for run in mine.values()])
        spent = np.mean([run.milliseconds for run in mine.values()])
        yield f"| {method} | {workers} | {len(mine)} | {' | '.join(cells)} | {trials:.0f} | {spent:.1f} |"


def _regrets(
    problems: Mapping[str, Surrogate], runs: Mapping[Key, Run], budget: float, found: Mapping[str, float] | None
) -> list[float]:
    """Returns each instance's mean over its runs."""
    by_instance: dict[str, list[float]] = defaultdict(list)
    for (name, *_), run in runs.items():
        problem = problems[name]
        top = found[name] if found else max([problem.top, *(value for _, value in run.ends)])
        best = run.best(budget * EPOCHS, problem.worst)
        by_instance[name].append((top - best) / (problem.top - problem.worst))
    return [float(np.mean(values)) for values in by_instance.values()]


def _cell(values: Sequence[float]) -> str:
    """Mean and 95 % bootstrap interval over the values."""
    drawn = np.random.default_rng(0).choice(values, size=(2000, len(values))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{np.mean(values):.4f} [{low:.3f}, {high:.3f}]"


def speed_table() -> Iterator[str]:
    """Yields milliseconds of CPU time a suggestion, after so many trials of which two thirds were stopped early."""
    spec = Toy(0).spec(Method("curves"), 0)
    search = CurveSearch(spec, Advice())
    yield "| trials | rows | ms a suggestion |"
    yield "|---|---|---|"
    for count in (50, 100, 200, 300):
        rng = np.random.default_rng(count)
        seen = list[Observation]()
        for number, row in enumerate(search.space.settled(rng.random((count, len(search.space.axes))))):
            last = int(rng.choice([1, 3, 9], p=[2 / 3, 2 / 9, 1 / 9]))
            reports = tuple((e, float(rng.normal())) for e in (1, 3, 9) if e <= last)
            state = records.TrialState.COMPLETE if last == 9 else records.TrialState.STOPPED
            seen.append(Observation(number, state, search.space.point(row), reports))
        search.suggest(count, seen, {})
        clock = time.process_time()
        for number in range(count, count + 5):
            search.suggest(number, seen, {})
        yield f"| {count} | {sum(len(t.reports) for t in seen)} | {200 * (time.process_time() - clock):.0f} |"


class Toy:
    """Four backbones with learning rates of their own; `large` is the best by little and costs eight times as much."""

    steps: tuple[int, ...] = (1, 3, 9)
    tops: Final = {"small": 0.86, "medium": 0.90, "large": 0.91, "weak": 0.75}
    rates: Final = {"small": -2.5, "medium": -3.5, "large": -4.5, "weak": -3.0}

    def __init__(self, seed: int, *, timed: bool = False) -> None:
        self._noise = np.random.default_rng([seed, 7])
        self._timed = timed

    def spec(self, method: Method, seed: int) -> SweepSpec:
        """Returns the sweep: `large` and `weak` have ranges of their own, mixing depends on the policy."""
        return SweepSpec.model_validate({
            "name": "toy", "data": {"source": "digits"}, "train": {"epochs": 9}, "seed": seed,
            "space": {
                "backbone": {"choice": list(self.tops)},
                "lr": {"log": [1e-5, 1e-1]},
                "layer_decay": {"uniform": [0.0, 1.0]},
                "augment.policy": {"choice": ["none", "3a", "rand-m9"]},
                "augment.mixup": {"uniform": [0.0, 1.0], "when": {"augment.policy": ["3a", "rand-m9"]}},
            },
            "overrides": {
                "large": {"space": {"lr": {"log": [1e-6, 1e-3]}}},
                "weak": {"space": {"lr": {"log": [1e-4, 1e-1]}}},
            },
            "search": {"trials": 60, "sampler": method.sampler, "stop": "asha", **method.search},
        })  # fmt: skip

    def end(self, point: Point) -> float:
        """Returns the accuracy of a full training without noise."""
        backbone = str(point["backbone"])
        off = np.log10(float(point["lr"] or 1)) - self.rates[backbone]
        mix = float(point.get("augment.mixup") or 0.0) - 0.4
        policy = {"none": 0.03, "3a": 0.0, "rand-m9": 0.01}[str(point["augment.policy"])]
        drop = 0.05 * off**2 + 0.1 * (float(point["layer_decay"] or 0) - 0.7) ** 2 + 0.05 * mix**2 + policy
        return self.tops[backbone] - min(0.6, float(drop))

    def curve(self, point: Point) -> Sequence[float]:
        """Returns accuracies: a slow start where the learning rate is small."""
        slow = 0.15 + 0.1 * (self.rates[str(point["backbone"])] < -4)
        # The last value is exact, so that regret is.
        noise = [*self._noise.normal(0, 0.004, len(self.steps) - 1).tolist(), 0.0]
        return [self.end(point) - slow * (1 / step - 1 / 9) + e for step, e in zip(self.steps, noise, strict=True)]

    def seconds(self, point: Point) -> float | None:
        """Returns 8 for the large backbone, else 1."""
        return (8.0 if point["backbone"] == "large" else 1.0) if self._timed else None


def toy_tables(seeds: int) -> Iterator[str]:
    """Yields the two tables of the toy space: by trials, and by seconds with and without an eye on cost."""
    yield "| method | regret after 60 trials | " + " | ".join(Toy.tops) + " |"
    yield "|---" * (2 + len(Toy.tops)) + "|"
    for name in ("random", "tpe", "curves"):
        runs = [simulate(Toy(s), Method(name), s, workers=1, budget=np.inf) for s in range(seeds)]
        shares = [np.mean([run.backbones.count(b) / run.trials for run in runs]) for b in Toy.tops]
        regrets = [max(Toy.tops.values()) - run.best(np.inf, 0.0) for run in runs]
        yield f"| {name} | {_cell(regrets)} | " + " | ".join(f"{share:.0%}" for share in shares) + " |"
    yield ""
    budgets = (150, 300, 600)
    yield "| `large` costs 8 times as much | " + " | ".join(f"regret at {b} s" for b in budgets) + " | trials |"
    yield "|---" * (2 + len(budgets)) + "|"
    methods = {"random": Method("random", search={"trials": 200})}
    for aware in (False, True):
        search = {"trials": 200, "cost_aware": aware}
        methods[f"curves, `cost_aware: {str(aware).lower()}`"] = Method("curves", search=search)
    for name, method in methods.items():
        runs = [simulate(Toy(s, timed=True), method, s, workers=1, budget=budgets[-1]) for s in range(seeds)]
        cells = [_cell([max(Toy.tops.values()) - run.best(b, 0.7) for run in runs]) for b in budgets]
        yield f"| {name} | {' | '.join(cells)} | {np.mean([run.trials for run in runs]):.0f} |"


def main() -> None:
    """Prints the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--yahpo", type=Path, default=Path("../shared/data/yahpo_lcbench"), help="the surrogate's folder"
    )
    parser.add_argument("--seeds", type=int, help="12 by default, 20 for --toy")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--tuning", action="store_true", help="the instances that defaults were chosen on")
    parser.add_argument("--results", type=Path, help="a file that keeps finished runs, to go on after an interruption")
    parser.add_argument("--toy", action="store_true", help="the conditional space of four backbones instead")
    parser.add_argument("--speed", action="store_true", help="the time of a suggestion instead")
    asked = parser.parse_args()
    if asked.speed or asked.toy:
        print(*(speed_table() if asked.speed else toy_tables(asked.seeds or 20)), sep="\n", flush=True)
        return
    if not (asked.yahpo / "model.onnx").exists():
        print(f"Skipped: `{asked.yahpo}` has no `model.onnx`; --yahpo says where the YAHPO-LCBench surrogate is.")
        return
    names = instances(asked.yahpo, first=0 if asked.tuning else 1)
    problems = {name: Surrogate(asked.yahpo, name) for name in names}
    keys = [(n, m, w, s) for s in range(asked.seeds or 12) for w in asked.workers for m in asked.methods for n in names]
    print(*lcbench_table(problems, all_runs(problems, keys, asked.results)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
