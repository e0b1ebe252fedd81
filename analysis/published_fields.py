"""Published and derived numbers of receptive fields beside ours: python analysis/published_fields.py [STUDY ...].

Writes results/published_fields.md. STUDY: folders that `rfmodel run retina_bottleneck ...` wrote, with the file
analyses.nc that `rfmodel analyse STUDY --analysis linearity --analysis separability` made of their networks, if it is
there. `--draws N` fields of noise, `--networks N` untrained networks, `--samples N` images of the averages, `--out`
where to write.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from pathlib import Path

import published_tables as tables
from beside import kept_reading
from published_studies import study_lines

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.provenance import commit

SAID = (
    "Cells: ours / theirs / the difference, of a range how far ours lies outside. A * marks a difference that is"
    " larger than rounding (half of the last digit) and draws leave open (1.96 standard errors of the difference)."
    " Theirs, unless a source is named: known answers derived apart from this package; the number of their draws"
    " of noise is not stated and taken as 200."
)
RANDOM = (
    "Lindsey et al.'s random fields: 1.99 ± .12 (mean, 1.96 standard errors, 100 fields; stored notebook"
    " outputs); which layer, initialisation and blank gave them is not stated. Their networks' form with their"
    " extraction, zero biases and a black image, leaves every unit dead (ReLU'(0) = 0); live fields need grey, or"
    " torch's biases. Bottleneck 32, two ventral layers, {units} live units, eight of a network before dead ones"
    " are left out; ± is 1.96 standard errors. Corrected: bars move along their own normal."
)
SHAPES = (
    "32 x 32. DoG: sigma 2, ratio 2, balanced; stretched ones keep 2 px along the short axis. Gaussian: sigma 3."
    " The Gabors' shape is not stated: sigma 3 and 5 px and frequency 1/8 (nx .375), at 0, 45, 90 and 135 degrees,"
    " give the printed ranges; at every 15 degrees odd ones reach 41 as published. SD is over draws, whose tail is"
    " heavy."
)
GABORS = (
    "Sigma 3 px, 32 x 32; OSI and gOSI at the Gabor's own frequency. Last row: ours less the closed form, or for"
    " A and the odd gOSI the integral over the continuous spectrum. Odd gOSI: an odd Gabor's tuning has a cusp,"
    " which the 72 orientations of `measure` sum to 2e-4 too much; that is both *."
)
STRETCHED = (
    "Balanced, ratio 2, short axis of 2 px, 32 x 32; below, integrals over the spectrum on an endless canvas."
    " Size and canvas of theirs are not stated: p0, p2 and A are within .005 of theirs at this size, whose canvas"
    " cuts the surround (A of .53 at aspect 3 is that, as they say); their coherence is the closed form, which the"
    " cut canvas falls short of. `gosi_mean` is the mean over 0 to .5 cycle per pixel; over .02 to .3, which"
    " leaves out the lowest frequencies, it is .057, .104, .180, .292. `gosi` is without *: the strongest response"
    " of a stretched isotropic field is equally strong at every orientation, each at a frequency of its own, so"
    " that its peak is a tie which sampling breaks."
)
NULLS = (
    "Means and, in brackets, 95 %; p0 about the unit's own pixel unless recentred. White noise: `measure`"
    " searches gratings up to 1/2 cycle per pixel, and its gOSI is theirs when the search ends at 1/3 (higher"
    " frequencies have more lobes, which cancel); its p0 is theirs when pixels outside the inscribed disc, which a"
    " turning canvas loses, are left out: the last two rows. Recentred p0: recentring lifts what is isotropic by"
    " chance most, so that its 95 % rises with its mean; theirs falls from .82 to .81, which is not explained."
    " Below: errors over networks. Theirs do not state the bottleneck of `vvs.conv1`: 4 and 32 enclose their OSI"
    " and coherence, and their gOSI is that of 4."
)
DEAD = (
    "% of units with no gradient above 1e-8; bottleneck 4, two ventral layers, seeds from 0; errors over"
    " networks. Black and zero biases: forced. Torch's default at 12: the same networks as theirs. Beyond the"
    " bottleneck a network is dead when its four units are all silent: 1/16 of networks for grey and zero biases,"
    " so that 1 of 12 (ours) and 3 of 12 (theirs; probability .04) are draws, and so is none of 12 (0 / 0 / 0,"
    " torch's default on grey before the ReLU): more networks have dead ones."
)
STA = (
    "1024 pixels, drive of unit variance. Correlation: mean of |r| over 40 units of random weights, theirs one"
    " field. For an even unit the formula gives the mean of r, 0; r has SD sqrt(5 / D) = .07, and mean |r| is"
    " .056. c at threshold 1 is 2.717: theirs, 2.71, is cut rather than rounded, and their 25.7 follows from it."
)
FITS = (
    "DoG: sigma 2, ratio 2, 32 x 32; their balances are not stated, and 1 and .5 give both ends of R2 (nx is .145"
    ' at .5). Gabors: sigma 3 px. Theirs for ny is "about .10".'
)


def page(studies: list[str], draws: int, networks: int, samples: int, units: int) -> str:
    """Return the page."""
    drawn = shlex.join(["python", f"analysis/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    lines = [
        "# Published numbers of receptive fields, beside ours", "", f"    {drawn}", "",
        f"Commit {commit()}, {platform.machine()}, Python {platform.python_version()}. {SAID}",
    ]  # fmt: skip
    given = [part for folder in studies for part in study_lines(folder)]  # refused, if at all, before the rest is made
    for title, caption, made in (
        ("Random baseline of the bar bank", RANDOM.format(units=units), tables.random_baseline(units)),
        ("Bar bank: noise and shapes", SHAPES, tables.noise_and_shapes(draws)),
        ("Circular Gabors", GABORS, tables.circular_gabors()),
        ("Stretched differences of Gaussians", STRETCHED, tables.stretched_dogs()),
        ("Null levels", NULLS, tables.null_levels(draws, networks)),
        ("Dead units", DEAD, tables.dead_units(networks)),
        ("Spike-triggered averages and sample size", STA, tables.sample_sizes(samples)),
        ("Fits to the other family", FITS, tables.fitted()),
    ):
        lines += ["", f"## {title}", "", caption, "", *made]
    return "\n".join(lines + given) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", metavar="STUDY")
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--samples", type=int, default=16000)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    try:
        text = page(asked.studies, asked.draws, asked.networks, asked.samples, asked.units)
        asked.out.mkdir(parents=True, exist_ok=True)
        path = asked.out / "published_fields.md"
        reading = kept_reading(path)
        store.write_aside(path, lambda aside: aside.write_text(text + reading, encoding="utf-8"))
    except (InputError, OSError) as error:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
