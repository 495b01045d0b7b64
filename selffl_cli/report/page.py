"""The page of an experiment: results/EXPERIMENT/README.md."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ..metrics.judged_by import ACCURACY
from .compare import limits
from .ledger import Entry
from .pictures.style import svg_link
from .results import Results
from .safe_text import code, fenced, markdown, paragraphs, prose
from .summary import summary_lines
from .tables import Summaries, Table, table_markdown

CAPTIONS = {
    "curves": "Mean over seeds with 95 % band. Over gradients, bytes and seconds, a point stands at its round's mean. "
    "Where each method has a panel, its title says where the personal models end.",
    "sweep": "Mean over seeds with 95 % interval, at each method's figures of equal rounds.",
    "sweep-uncertainty": "The method's own scalars in its last round; 95 % intervals over seeds.",
    "differences": "Paired difference to the first method, at equal rounds; violet is worse, orange better.",
    "uncertainty": "Mean over seeds; bands: 95 % over seeds for scalars, 10–90 % of participants for clients.",
    "clients": "A point is a client of one seed; the black line is the median of clients of similar size. Clients that "
    "neither gain nor lose have the same test figure of both models.",
    "privacy": "Utility against attack success, with 95 % intervals over seeds; up and to the left is better.",
    "fairness": "Means over the clients of all seeds, each counting once. Light and heavy: the quarters of "
    "clients with the fewest and the most training samples; groups as the data name them.",
    "worst-tenth": "Mean over the worst tenth of clients, with 95 % intervals over seeds, at equal rounds.",
}


def page(
    results: Results,
    both: Summaries,
    entries: list[Entry],
    tables: list[Table],
    pictures: list[str],
    extras: list[str],
    command: str,
) -> str:
    experiment = results.experiment
    sections = [f"# {markdown(experiment.title or experiment.name)}"]
    sections.append("\n".join(f"- {markdown(line)}" for line in summary_lines(results, both, entries)))
    sections.append(paragraphs(experiment.description))
    if entries:
        sections += ["## Claims", claims_markdown(results, entries), claims_footnote(entries)]
    sections += ["## Results", how_to_read(results, both)]
    for table in tables:
        sections += [f"### {markdown(table.title)}", table_markdown(table)]
    sections += extras
    sections.append(
        "The same figures: [tables.tex](tables.tex) (LaTeX; also a file for each table, and "
        "[table-compact.tex](table-compact.tex) for a column of a two-column paper), [tables.csv](tables.csv) "
        "(unrounded, every part and metric), "
        "[runs.csv](runs.csv) (one row a run)" + (", [claims.csv](claims.csv)." if entries else ".")
    )
    if pictures:
        sections.append("## Pictures")
        for name in pictures:
            kind = "curves" if name.startswith("curves-") else name
            sections.append(f"![{name}]({name}.png)\n\n{CAPTIONS.get(kind, '')}{svg_link(name)}")
    sections += ["## Set-up", setup(results), "## Budget", budget(results), "## Where the numbers come from"]
    sections.append(
        "Everything above is computed from the run folders alone. The data are public (or drawn from a "
        "stated model), and where the papers leave a choice open the runs use our instantiation, written "
        "into each run's `run.toml`; the papers' own figures stand only in the column *paper*."
    )
    sections += [
        provenance(results),
        "To make it again:",
        f"```sh\n{_train_command(results)}\n{fenced(command)}\n```",
    ]
    if results.notes:
        sections += ["## Notes", "\n".join(f"- {prose(note)}" for note in results.notes)]
    return "\n\n".join(section for section in sections if section) + "\n"


def claims_markdown(results: Results, entries: list[Entry]) -> str:
    lines = [
        "| verdict | claim | paper | ours (left vs right) | difference | seeds |",
        "|---|---|---|---:|---:|---:|",
    ]
    for entry in entries:
        claim = entry.claim
        text = (
            claim.text + (f" *({claim.source})*" if claim.source else "") + (" **required**" if claim.required else "")
        )
        effect = entry.effect(results) + (f" at {entry.level}" if entry.level else "")
        verdict = f"**{entry.judgement.verdict}**" + (f" ({entry.judgement.note})" if entry.judgement.note else "")
        cells = [
            verdict,
            f"{code(claim.id)} {text}",
            claim.paper or "–",
            entry.sides(results),
            effect,
            str(len(entry.seeds)),
        ]
        lines.append("| " + " | ".join(prose(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def claims_footnote(entries: list[Entry]) -> str:
    text = (
        "Verdicts: the paired difference left − right over common seeds with its t interval, at 95 % "
        f"after Holm's correction over the {len(entries)} claim{'s' * (len(entries) > 1)} of this "
        "experiment (the level used stands with each interval). *Reproduced*: the interval lies wholly on "
        "the claim's side; *contradicted*: wholly on the other; else, or with fewer than 5 seeds, "
        "*undecided*. *Equal* means within the margin stated beforehand."
    )
    if any(entry.rival for entry in entries):
        text += (
            " A claim against several methods is reproduced against all of them or not at all, and contradicted by "
            "any, at its share of the level; shown is the one, in brackets, that decides."
        )
    if any(entry.judgement.interval is None or entry.judgement.interval.withheld for entry in entries):
        text += " With fewer than 2 seeds no interval can be computed, so it is withheld."
    return text


def how_to_read(results: Results, both: Summaries) -> str:
    """What the tables' columns mean, with the levels at which they were read."""
    rounds, gradients = limits(results, "rounds"), limits(results, "gradients")
    text = (
        "Mean over seeds ± half-width of the 95 % t interval. *Equal rounds*: at the last round that "
        f"every method of a seed reached ({_range(rounds)}). *Equal gradients*: at the largest number of "
        f"gradient evaluations that every method of a seed reached ({_range(gradients)}), on the straight line between "
        "a method's evaluations before and after it; percentiles, and what is known of final models alone, are not "
        "read there. A closed form, which takes no local steps, shows its last figures. "
        "**Bold**: better than every other method, the paired 95 % interval excluding 0. †: cannot be "
        "told from the best mean."
    )
    trained = {run.label for run in results.runs if run.traits.get("trains_when_scored")}
    if asked := [label for label in results.labels if label in trained]:
        names = " and ".join(map(markdown, asked))
        text += f" Gradients by which {names} make personal models when scored are in no count."
    if results.metric is ACCURACY:
        text += " Accuracy counts all clients' samples alike; client mean weighs every client equally."
    read = {f"test.{model}.{results.metric}" for model in ("personal", "global")}
    if late := sorted({label for _, what, label in both["gradients"].withheld if what in read}):
        text += (
            f" Not every run of {', '.join(map(markdown, late))} was evaluated near enough to that number of "
            "gradients, so its figure at equal gradients is withheld (a smaller `eval_every` gives one)."
        )
    seeds = {(run.setting, run.label): 0 for run in results.runs}
    for run in results.finished:
        seeds[run.setting, run.label] += 1
    if any(count < 2 for count in seeds.values()):
        text += " **Fewer than 2 seeds: the interval is withheld**, and nothing is called best on them."
    return text


def _range(values: Any) -> str:
    if values.empty:
        return "none"
    low, high = values.min(), values.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def setup(results: Results) -> str:
    """Data, partition, sizes and model, from the runs' records."""
    records = [run.folder.record for run in results.runs]
    of_each = {(run.setting, run.seed): run for run in results.runs}  # methods share their data
    sizes = sorted({int(run.folder.clients["n_train"].to_numpy().sum()) for run in of_each.values()})
    data = [record["data"] for record in records]
    options = [item.get("arguments", {}) for item in data]
    lines = [
        f"- Data: {_distinct(d['name'] for d in data)}, {_span(sizes)} training samples",
        f"- Partition: {_distinct(d.get('partition', '?') for d in data)}, "
        f"{_distinct(d.get('clients', '?') for d in data)} clients",
        f"- Options: {_options(options, {'partition', 'clients', 'seed'})}",
        f"- Model: {_distinct(_one_line(record['model']) for record in records)}",
        f"- Seeds: {_distinct(run.seed for run in results.runs)}; {varied(results)}, alike for every method",
    ]
    judged = [str(record["train"].get("eval_clients", "all")) for record in records]
    if set(judged) != {"all"}:
        lines.append(f"- Evaluated: a fixed sample of {_distinct(judged)} clients, drawn from the seed")
    if len(results.settings) > 1:
        lines.append(f"- Swept: {'; '.join(results.settings)}")
    hashes = sorted({str(d.get("hash", ""))[:8] for d in data})
    shown = ", ".join(f"`{h}`" for h in hashes[:10]) + (f" and {len(hashes) - 10} more" if len(hashes) > 10 else "")
    lines.append(f"- Data hashes: {shown}")
    return "\n".join(f"- {prose(line[2:])}" for line in lines if not line.endswith(": "))


def varied(results: Results) -> str:
    """What the seeds vary: the deal of the data too, unless one serves several seeds."""
    seeds: dict[str, set[int]] = {}
    for run in results.runs:
        seeds.setdefault(str(run.folder.record["data"].get("hash", "")), set()).add(run.seed)
    if any(len(served) > 1 for served in seeds.values()):
        return "one deal of the data serves several seeds, each varies start and client sequence"
    return "each varies partition, start and client sequence"


def budget(results: Results) -> str:
    """How each method trained: its [train] values, its start and its own options."""
    rows: dict[str, list[str]] = {}
    for run in results.runs:
        record = run.folder.record
        train = record["train"]
        steps, epochs = train.get("local_steps"), train.get("local_epochs") or 1
        start = str(record.get("init") or "")
        cells = [
            run.label,
            record["method"].get("name", run.label),
            f"{train['rounds']} a period" if train.get("periods") else train["rounds"],
            cohort_words(train),
            f"{steps} steps" if steps else f"{epochs} epoch{'s' * (epochs > 1)}",
            train["batch_size"],
            f"{train['learning_rate']:g}",
            _one_line({k: v for k, v in record["method"].items() if k != "name"}) or "–",
        ]
        starts = rows.setdefault(" | ".join(map(markdown, cells)), [])
        start = code(start[:8]) if start else "the seed's own"
        if start not in starts:
            starts.append(start)
    head = (
        "| method | kind | rounds | clients a round | local work | batch | rate | options | start "
        "|\n|---|---|---:|---:|---:|---:|---:|---|---|"
    )
    return "\n".join([head, *(f"| {text} | {_distinct(starts)} |" for text, starts in rows.items())])


def cohort_words(train: Mapping[str, Any]) -> str:
    """Who takes part in a round, and how models are weighed when it is not the method's own way."""
    sampler = str(train.get("sampler", "uniform"))
    size = train.get("clients_per_round") or f"C = {train.get('participation', 1):g}"
    text = sampler if sampler.startswith("poisson") else f"{size}, {sampler}" if sampler != "uniform" else str(size)
    return text + (f", {train['weighting']}" if train.get("weighting") else "")


def provenance(results: Results) -> str:
    """Machine, versions, commit and time, as the runs recorded them."""
    found = [run.folder.environment for run in results.runs]

    def of(key: str) -> str:
        return _distinct(environment.get(key, "?") for environment in found)

    def commit(environment: Mapping[str, Any]) -> str:
        dirty = " (with uncommitted changes)" if environment.get("dirty") else ""
        return f"`{str(environment.get('commit') or 'unknown')[:12]}`{dirty}"

    seconds = sum(float(run.result.get("seconds") or 0) for run in results.runs)
    started = [str(environment.get("started", "?")) for environment in found]
    versions = ", ".join(f"{name} {of(name)}" for name in ("selffl", "python", "torch", "numpy"))
    lines = [
        f"Commit: {_distinct(map(commit, found))}",
        f"Machine: {of('cpu')}; device {of('device')}; worker processes: {of('workers')}",
        f"Versions: {versions}",
        f"Runs: {len(results.runs)}, {seconds:,.0f} s of wall-clock time in all; started between "
        f"{min(started)} and {max(started)}",
    ]
    return "\n".join(f"- {prose(line)}" for line in lines)


def _train_command(results: Results) -> str:
    """The commands that the runs were started with, or the one that makes the whole experiment."""
    recorded = []
    for run in results.runs:
        command = run.folder.environment.get("command")
        words = command if isinstance(command, list) else shlex.split(command or "")
        if len(words) > 1:
            line = fenced(shlex.join(["selffl", *_without_places(words[1:])]))
            if line not in recorded:
                recorded.append(line)
    seeds = sorted({run.seed for run in results.runs})
    whole = f"selffl train {results.experiment.name} --seeds {_seed_list(seeds)}"
    if not recorded or len(recorded) > 12:
        return whole
    return "\n".join(recorded)


PLACES = ("--runs", "--data-folder", "--workers", "-w", "--device")  # where and how, which changes no number


def _without_places(words: list[str]) -> list[str]:
    """A command's words without the maker's own folders; of a source file its name alone."""
    kept: list[str] = []
    skip = False
    for before, word in zip(["", *words], words, strict=False):
        if skip or word in PLACES:
            skip = not skip and word in PLACES
        elif before in ("--data", "-d") and word.endswith("/"):  # the folder to keep shards in
            kept.pop()
        elif not word.startswith(tuple(f"{place}=" for place in PLACES if place.startswith("--"))):
            kept.append(word.rsplit("/", 1)[-1] if before == "--source" else word)
    return kept


def _seed_list(seeds: list[int]) -> str:
    contiguous = len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]}-{seeds[-1]}" if contiguous else ",".join(map(str, seeds))


def _distinct(values: Iterable[Any]) -> str:
    seen = list(dict.fromkeys(str(value) for value in values))
    return ", ".join(seen[:6]) + (f" and {len(seen) - 6} more" if len(seen) > 6 else "")


def _span(values: list[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def _one_line(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} = {v}" if k != "name" else str(v) for k, v in options.items())


def _options(data: list[Mapping[str, Any]], hidden: set[str]) -> str:
    keys = sorted({key for item in data for key in item} - hidden)
    return ", ".join(f"{key} = {_distinct(item[key] for item in data if key in item)}" for key in keys)
