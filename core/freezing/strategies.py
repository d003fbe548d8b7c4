"""The freezing strategies, in one dict.

A strategy is a pure function from the stages of a backbone and its options to a `FreezeSpec`. The
plan made of that (core.freezing.plan) is all that the training loop sees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import BadInput
from core.freezing.spec import FreezeSpec
from core.models.card import StageCard

Options = dict[str, Any]
"""Values of a strategy's options, by name."""


@dataclass(frozen=True)
class Option:
    """An option of a strategy: a number, one of some words, or names of stages for "stages".

    Args:
        label: its name on a page.
        description: what it does, as a help text.
        default: an int for whole numbers, a float for others, a word of `choices`, a tuple for
            names of stages.
        low, high: least and greatest number.
        choices: the words that it may be; empty for a number or names of stages.
    """

    label: str
    description: str
    default: Any
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()


Stages = Sequence[StageCard]
BuildSpec = Callable[[Stages, Options], FreezeSpec]


@dataclass(frozen=True)
class Strategy:
    """A strategy; its key in STRATEGIES is its name in requests and on the command line.

    Args:
        title: its name on a page.
        summary: what it does, in a sentence.
        when: in which case to try it.
        build: computes what it decides for the stages of a backbone.
        source: the paper it is from; "" for common practice.
        options: by name; empty where it has none.
        control: whether it is a baseline that fine-tuning has to beat.
        trains: whether anything trains; where nothing does, one run stands for every seed, learning
            rate and target size.
        has_learning_rate: whether the learning rate and the number of epochs change its result.
        has_seed: whether the seed changes its result; where it does not, one run stands for every
            seed.
        rule: revision of what it does in training; results store it, so that a run which an older
            revision trained is not taken for one that cannot be repeated.
        change: what was otherwise before this revision.
        fits_inputs: whether a run fits a vocabulary of its own on its training rows, so that
            nothing of the backbone is left but, for a network, its architecture.
        model: title of what it fits instead of a network; "" where it trains a network.
        iteration: what is counted, and of which the best one is kept: "epoch", "tree", "penalty".
    """

    title: str
    summary: str
    when: str
    build: BuildSpec
    source: str = ""
    options: dict[str, Option] = field(default_factory=dict)
    control: bool = False
    trains: bool = True
    has_learning_rate: bool = True
    has_seed: bool = True
    rule: int = 1
    change: str = ""
    fits_inputs: bool = False
    model: str = ""
    iteration: str = "epoch"


def _train_all(stages: Stages, **fields: Any) -> FreezeSpec:
    """Every stage trains; fields: others of FreezeSpec."""
    return FreezeSpec((True,) * len(stages), **fields)


def _depth(stages: Stages, options: Options) -> FreezeSpec:
    depth = options["depth"]
    if not 0 <= depth <= len(stages):
        raise BadInput(
            f"Freeze depth {depth} does not fit this backbone: it has {len(stages)} stages, "
            f"so take 0 (full fine-tuning) to {len(stages)} (linear probe)."
        )
    return FreezeSpec(tuple(index >= depth for index in range(len(stages))))


def _full(stages: Stages, options: Options) -> FreezeSpec:
    return _train_all(stages)


def _freeze_all(stages: Stages, options: Options) -> FreezeSpec:
    return FreezeSpec((False,) * len(stages))


def _lp_ft(stages: Stages, options: Options) -> FreezeSpec:
    epochs = options["probe_epochs"]
    # When the probe converges is known only while it trains; it takes an epoch at least.
    return _train_all(stages, from_epoch=(epochs or 1,) * len(stages), probe_first=not epochs)


def _gradual(stages: Stages, options: Options) -> FreezeSpec:
    # The top stage is 1 below the head and joins in epoch 1, at the head's rate over the factor.
    below_head = range(len(stages), 0, -1)
    return _train_all(
        stages,
        from_epoch=tuple(below_head),
        lr_scales=tuple(options["factor"] ** -steps for steps in below_head),
    )


def _decay(stages: Stages, options: Options) -> FreezeSpec:
    below_head = range(len(stages), 0, -1)
    return _train_all(stages, lr_scales=tuple(options["decay"] ** steps for steps in below_head))


def _surgical(stages: Stages, options: Options) -> FreezeSpec:
    names, chosen = [stage.name for stage in stages], options["stages"]
    if unknown := [name for name in chosen if name not in names]:
        raise BadInput(f"The stages {unknown} are not in this backbone; its stages are {names}.")
    if not chosen:
        raise BadInput(
            f"Surgical fine-tuning needs at least one stage to train; choose from {names}."
        )
    return FreezeSpec(tuple(name in chosen for name in names))


def _embeddings_only(stages: Stages, options: Options) -> FreezeSpec:
    _require_embedding_stage(stages)
    return FreezeSpec((True, *(False,) * (len(stages) - 1)))


def _all_but_embeddings(stages: Stages, options: Options) -> FreezeSpec:
    _require_embedding_stage(stages)
    return FreezeSpec((False, *(True,) * (len(stages) - 1)))


def _auto_rgn(stages: Stages, options: Options) -> FreezeSpec:
    return _train_all(stages, schedule="auto-rgn")


def _l2_sp(stages: Stages, options: Options) -> FreezeSpec:
    return _train_all(stages, l2_sp=options["pull"], head_decay=options["head_decay"])


def _bitfit(stages: Stages, options: Options) -> FreezeSpec:
    counts = _require_counts(
        "biases and normalisation layers", [stage.biases_norms for stage in stages]
    )
    return FreezeSpec(tuple(count > 0 for count in counts), scope="biases and norms")


def _lora(stages: Stages, options: Options) -> FreezeSpec:
    counts = _require_counts("linear layers", [stage.linear_widths for stage in stages])
    return FreezeSpec(tuple(count > 0 for count in counts), scope="adapters", rank=options["rank"])


def _meda(stages: Stages, options: Options) -> FreezeSpec:
    _require_embedding_stage(stages)
    return _train_all(stages, reset_embeddings=True)


def _autofreeze(stages: Stages, options: Options) -> FreezeSpec:
    return _train_all(stages, schedule="autofreeze")


def _reinitialise(stages: Stages, options: Options) -> FreezeSpec:
    return _train_all(stages, reinitialise=True)


def _require_counts(what: str, counts: Sequence[int | None]) -> list[int]:
    """Return the counts of what a strategy trains, one a stage.

    Raises:
        BadInput: the card lacks them, as those of older versions do, or all are 0.
    """
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        raise BadInput(
            f"This backbone's card was written before {what} were counted, so it is not known what"
            " would train; export the backbone and import it again under another name, which"
            " counts them."
        )
    if not any(known):
        raise BadInput(
            f"This strategy trains {what}, and this backbone's stages have none; choose another"
            " one."
        )
    return known


def _require_embedding_stage(stages: Stages) -> None:
    if stages[0].name != "embedding":
        raise BadInput(
            f"This backbone's first stage is {stages[0].title!r}, not an embedding stage; choose"
            " another strategy."
        )


ROW_CHOICES = ("source", "target", "both")
_ROWS = Option(
    "Rows",
    "which training rows it is fitted on: source, target, or both as far as the dataset has them",
    "both",
    choices=ROW_CHOICES,
)

STRATEGIES: dict[str, Strategy] = {
    "depth": Strategy(
        "Freeze depth",
        "The first d stages stay frozen, the rest and the head train.",
        "Compare depths to find the best one.",
        _depth,
        "Yosinski et al.: How transferable are features in deep neural networks?, NeurIPS 2014",
    ),
    "linear-probe": Strategy(
        "Linear probe",
        "Every stage is frozen; only the head trains.",
        "Few rows, or a source domain much like the target; the quickest.",
        _freeze_all,
        "Alain, Bengio: Understanding intermediate layers using linear classifier probes, 2016",
    ),
    "full": Strategy(
        "Full fine-tuning",
        "Nothing is frozen (freeze depth 0); every stage and the head train.",
        "Many rows, or a target unlike the source; the baseline for every other strategy.",
        _full,
        "Girshick et al.: Rich feature hierarchies, CVPR 2014",
    ),
    "lp-ft": Strategy(
        "Probe, then fine-tune",
        "The head alone trains until it has converged, then every stage joins.",
        "A new head's first, wrong gradients would distort good stages; often keeps more of the"
        " source.",
        _lp_ft,
        "Kumar et al.: Fine-Tuning can Distort Pretrained Features, ICLR 2022",
        {
            "probe_epochs": Option(
                "Probe epochs",
                "epochs in which the head trains alone; 0: until its validation loss no longer"
                " falls",
                0,
                0,
                1000,
            )
        },
    ),
    "gradual": Strategy(
        "Gradual unfreezing",
        "The head first, then one stage more each epoch from the top, lower stages at lower rates.",
        "Few rows and many epochs: needs at least as many epochs as stages.",
        _gradual,
        "Howard, Ruder: ULMFiT, ACL 2018",
        {
            "factor": Option(
                "Rate factor", "each stage's rate is the one above it divided by this", 2.6, 1, 10
            )
        },
    ),
    "decay": Strategy(
        "Layer-wise rate decay",
        "Every stage trains, each at a lower rate than the one above it.",
        "A soft freeze: lower stages move a little.",
        _decay,
        "Clark et al.: ELECTRA, ICLR 2020",
        {
            "decay": Option(
                "Decay", "a stage's rate is this part of the one above it", 0.65, 0.05, 1
            )
        },
    ),
    "surgical": Strategy(
        "Surgical",
        "Only the stages you choose train, with the head.",
        "You know what shifted: new values ask for the embedding, a new relation for upper stages.",
        _surgical,
        "Lee et al.: Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, ICLR 2023",
        {"stages": Option("Stages to train", "names of the stages that train", ())},
    ),
    "embeddings-only": Strategy(
        "Embeddings only",
        "The embedding stage and the head train.",
        "The same relations between other values: new sites, new ads.",
        _embeddings_only,
    ),
    "all-but-embeddings": Strategy(
        "All but embeddings",
        "The embedding stage stays frozen, everything above it trains (freeze depth 1).",
        "Most parameters are embeddings, and rare ones overfit first.",
        _all_but_embeddings,
        "Zhang et al.: Towards Understanding the Overfitting Phenomenon of Deep CTR Models, CIKM"
        " 2022",
    ),
    "auto-rgn": Strategy(
        "Auto-RGN",
        "Every stage trains at a rate that follows its relative gradient norm, taken anew each"
        " epoch; the head trains at the full rate.",
        "You do not know which stages should move.",
        _auto_rgn,
        "Lee et al.: Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, ICLR 2023",
        rule=2,
        change="the head's rate followed its gradient norm too, and lowered those of the stages",
    ),
    "l2-sp": Strategy(
        "L2-SP",
        "Every stage trains, pulled back towards the backbone's weights; a new head is pulled"
        " towards 0.",
        "Freezing feels too hard and full fine-tuning forgets too much.",
        _l2_sp,
        "Li, Grandvalet, Davoine: Explicit Inductive Bias for Transfer Learning, ICML 2018",
        {
            "pull": Option(
                "Pull",
                "each step closes this times the learning rate of the distance from the backbone",
                100.0,
                1e-6,
                10_000,
            ),
            "head_decay": Option(
                "Head decay", "the same for a new head and its distance from 0", 0.01, 0, 1000
            ),
        },
        rule=2,
        change="the pull was a part of the loss, which Adam rescales, and a new head had none",
    ),
    "bitfit": Strategy(
        "BitFit",
        "Only biases and normalisation layers train, with the head.",
        "The smallest change that reaches every stage; cheap to store for many targets.",
        _bitfit,
        "Ben Zaken, Ravfogel, Goldberg: BitFit, ACL 2022",
    ),
    "lora": Strategy(
        "LoRA",
        "Every linear layer gets a trained low-rank addition; its own weights and the embeddings"
        " stay frozen.",
        "Like BitFit, but more flexible; the additions are merged into the weights at the end.",
        _lora,
        "Hu et al.: LoRA, ICLR 2022",
        {"rank": Option("Rank", "rank of the additions", 4, 1, 256)},
    ),
    "meda": Strategy(
        "Fresh embeddings each epoch",
        "Every stage trains; the first epoch goes on from the backbone's embeddings, and each later"
        " one starts from new random vectors.",
        "Several epochs without the one-epoch overfitting of click models; from the second one on"
        " it gives up the source's embeddings.",
        _meda,
        "Fan et al.: Multi-Epoch Learning with Data Augmentation (MEDA), 2023",
        rule=2,
        change="the embeddings were new in the first epoch already",
    ),
    "autofreeze": Strategy(
        "Automatic freezing",
        "Every stage trains at first; from the input up, stages whose gradient norm no longer"
        " changes freeze for good.",
        "You want the time of freezing without choosing a depth.",
        _autofreeze,
        "Liu et al.: AutoFreeze, 2021",
        rule=2,
        change="the norms of each step's gradients were added up, not the gradients themselves",
    ),
    "zero-shot": Strategy(
        "Zero-shot",
        "The backbone with its own head, as it is; nothing trains.",
        "A control: is training worth anything here?",
        _freeze_all,
        control=True,
        trains=False,
        has_learning_rate=False,
        has_seed=False,
    ),
    "logistic-regression": Strategy(
        "Logistic regression",
        "One weight for every value and every number, fitted to the optimum; the penalty is chosen"
        " on validation rows.",
        "A control: does a network beat the simplest click model on the same rows?",
        _reinitialise,
        "Richardson, Dominowska, Ragno: Predicting Clicks, WWW 2007",
        {"rows": _ROWS},
        control=True,
        has_learning_rate=False,
        has_seed=False,
        fits_inputs=True,
        model="Logistic regression",
        iteration="penalty",
    ),
    "gradient-boosting": Strategy(
        "Gradient boosting",
        "Decision trees on numbers and smoothed click rates of values (LightGBM), as many as"
        " lower the validation loss.",
        "A control: what most analysts would take for rows like these. Fine-tuning that does not"
        " beat it is not worth its cost.",
        _reinitialise,
        "Ke et al.: LightGBM, NeurIPS 2017",
        {"rows": _ROWS},
        control=True,
        has_learning_rate=False,
        fits_inputs=True,
        model="Gradient boosting",
        iteration="tree",
    ),
    "retrain": Strategy(
        "Retrained",
        "The same network with fresh weights and a vocabulary of its own, trained on source and"
        " target rows together.",
        "A control: is fine-tuning worth more than training once on all rows?",
        _reinitialise,
        options={"rows": _ROWS},
        control=True,
        fits_inputs=True,
    ),
    "scratch": Strategy(
        "From scratch",
        "The same network with fresh weights and a vocabulary of its own, trained on the target"
        " rows alone.",
        "A control: is the backbone worth anything here?",
        _reinitialise,
        control=True,
        fits_inputs=True,
    ),
}


def control_strategies() -> tuple[str, ...]:
    """The names of the controls.

    >>> control_strategies()
    ('zero-shot', 'logistic-regression', 'gradient-boosting', 'retrain', 'scratch')
    """
    return tuple(name for name, strategy in STRATEGIES.items() if strategy.control)


DEFAULT_CONTROLS = ("zero-shot", "logistic-regression", "gradient-boosting")
"""Controls that run beside a fine-tuning run unless others are chosen: strong and quick."""


def control_titles() -> tuple[str, ...]:
    """The controls as arms are titled.

    >>> control_titles()
    ('zero-shot', 'logistic regression', 'gradient boosting', 'retrained', 'from scratch')
    """
    return tuple(describe_strategy(name, 0, {}) for name in control_strategies())


def untrained_titles() -> tuple[str, ...]:
    """The strategies that train nothing, as arms are titled.

    >>> untrained_titles()
    ('zero-shot',)
    """
    untrained = (name for name, strategy in STRATEGIES.items() if not strategy.trains)
    return tuple(describe_strategy(name, 0, {}) for name in untrained)


def is_control(strategy: str) -> bool:
    """Whether a strategy is a control; any other word, such as "pretraining", is none."""
    return strategy in STRATEGIES and STRATEGIES[strategy].control


def is_trained(strategy: str) -> bool:
    """Whether a strategy trains anything; any other word, such as "pretraining", does."""
    return strategy not in STRATEGIES or STRATEGIES[strategy].trains


def has_learning_rate(strategy: str) -> bool:
    """Whether the learning rate changes what a strategy gives; any other word's does."""
    return strategy not in STRATEGIES or STRATEGIES[strategy].has_learning_rate


def has_seed(strategy: str) -> bool:
    """Whether the seed changes what a strategy gives; any other word's does.

    >>> has_seed("zero-shot"), has_seed("logistic-regression"), has_seed("gradient-boosting")
    (False, False, True)
    """
    return strategy not in STRATEGIES or STRATEGIES[strategy].has_seed


def has_own_model(strategy: str) -> bool:
    """Whether a strategy trains a model that shares nothing with the backbone's weights."""
    return strategy in STRATEGIES and STRATEGIES[strategy].fits_inputs


def iteration_word(strategy: str) -> str:
    """What a run counts: "epoch", or what a control counts instead.

    >>> iteration_word("full"), iteration_word("gradient-boosting"), iteration_word("pretraining")
    ('epoch', 'tree', 'epoch')
    """
    return STRATEGIES[strategy].iteration if strategy in STRATEGIES else "epoch"


def complete_options(strategy: str, options: Options) -> Options:
    """Return every option of a strategy: `options` where given, else its default.

    Raises:
        BadInput: the strategy or an option is unknown, or a number is out of bounds.

    >>> complete_options("lora", {})
    {'rank': 4}
    """
    if strategy not in STRATEGIES:
        raise BadInput(f"strategy is {strategy!r}; it must be one of {[*STRATEGIES]}.")
    known = STRATEGIES[strategy].options
    if unknown := set(options) - set(known):
        raise BadInput(
            f"The strategy {STRATEGIES[strategy].title!r} has no options {sorted(unknown)}; it has"
            f" {sorted(known)}."
        )
    values = {name: options.get(name, option.default) for name, option in known.items()}
    for name, value in values.items():
        option = known[name]
        if name == "stages":
            values[name] = tuple(value)
            continue
        if option.choices:
            if value not in option.choices:
                raise BadInput(
                    f"{option.label} is {value!r}; it must be one of {[*option.choices]}."
                )
            continue
        kinds = int if isinstance(option.default, int) else (int, float)
        if (
            isinstance(value, bool)
            or not isinstance(value, kinds)
            or not option.low <= value <= option.high
        ):
            raise BadInput(
                f"{option.label} is {value!r}; it must be {option.low:g} to {option.high:g}."
            )
    return values


def describe_strategy(strategy: str, freeze_depth: int, options: Options) -> str:
    """The strategy with its options in a few words, as arms are titled.

    >>> describe_strategy("depth", 2, {}), describe_strategy("lora", 0, {"rank": 8})
    ('freeze depth 2', 'LoRA, rank 8')
    >>> describe_strategy("gradient-boosting", 0, {"rows": "source"})
    'gradient boosting, source rows'

    A word that is given is named even where it is the default, so that arms on several choices of
    rows can be distinguished:

    >>> describe_strategy("gradient-boosting", 0, {"rows": "both"})
    'gradient boosting, source and target rows'
    """
    if strategy == "depth":
        return f"freeze depth {freeze_depth}"
    entry = STRATEGIES[strategy]
    # Names such as LoRA and BitFit keep their capitals.
    title = (
        entry.title if any(letter.isupper() for letter in entry.title[1:]) else entry.title.lower()
    )
    words = []
    for name, value in complete_options(strategy, options).items():
        option = entry.options[name]
        if name == "stages":
            words.append("+".join(value))
        elif option.choices and name in options:
            named = "source and target" if value == "both" else value
            words.append(f"{named} {option.label.lower()}")
        elif value != option.default and not option.choices:
            words.append(f"{option.label.lower()} {value:g}")
    return ", ".join([title, *words])
