"""Draws the learning curves of one or more summary.json files as an SVG.

Usage: python plot_curve.py OUT.svg LABEL=summary.json [LABEL=summary.json ...]
Needs matplotlib.
"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(out, *curves):
    figure, (accuracy, loss) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for curve in curves:
        label, path = curve.split("=", 1)
        with open(path) as file:
            points = json.load(file)["curve"]
        rounds = [point["rounds"] for point in points]
        accuracy.plot(rounds, [100 * p["generalized_accuracy"] for p in points], "o-", ms=3, label=label)
        loss.plot(rounds, [p["generalized_loss"] for p in points], "o-", ms=3, label=label)
    accuracy.axhline(25, color="gray", lw=0.8, ls="--", label="chance")
    accuracy.set(xlabel="rounds", ylabel="test accuracy (%)", ylim=(0, 100))
    loss.set(xlabel="rounds", ylabel="test loss", ylim=(0, None))
    for axes in (accuracy, loss):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(out, metadata={"Date": None})


main(*sys.argv[1:])
