"""Plots of the ledgers: how much of each cap is used, and what was really lost beside it.

Guarantee: bars are shares of a cap, never epsilons: `spent` is the cap's own measure, and a lost
epsilon on the same axis would be read against it. Partners whose accounts stand alike share a plot.
"""

from dataclasses import dataclass

from matplotlib.axes import Axes

from fedmkt.evidence.report import Budget, Report
from fedmkt.simulation.svg import PALETTE, SERIES, Plot, new_axes, plot_style, shortened, to_svg

_WIDTH = 400.0
_FONT = 12.0  # still 11 px where a telephone draws the plot 370 px wide
_INK, _QUIET, _REST = (PALETTE[role][0] for role in ("ink", "quiet", "rest"))
_LONGEST_NAME = 20


def budget_plots(report: Report) -> tuple[Plot, ...]:
    """Return one plot for all partners whose accounts stand alike: the used share of each cap."""
    alike: dict[tuple[Budget, ...], list[str]] = {}
    for partner in report.partners:
        accounts = tuple(
            account.model_copy(update={"partner": ""})
            for account in report.budget
            if account.partner == partner.name
        )
        if accounts:
            alike.setdefault(accounts, []).append(partner.name)
    return tuple(
        _budget_plot(accounts, partners, index)
        for index, (accounts, partners) in enumerate(alike.items())
    )


@dataclass(frozen=True, slots=True)
class _Bar:
    window: str
    cap: float
    spent: float

    @property
    def used(self) -> float:
        """Return the percentage of the cap that is used."""
        return 100 * self.spent / self.cap if self.cap else 100.0


@dataclass(frozen=True, slots=True)
class _Account:
    dataset: str
    purpose: str
    lost: str
    bars: tuple[_Bar, ...]


def _budget_plot(budgets: tuple[Budget, ...], partners: list[str], index: int) -> Plot:
    accounts = [account for account in map(_account, budgets) if account.bars]
    lines = sum(1 + len(account.bars) for account in accounts)
    key, title = f"budget-{index}", f"Budget of {partners[0]}"
    if len(partners) > 1:
        title = f"Budget of {', '.join(partners[:-1])} and {partners[-1]}: alike"
    description = (
        "Each bar is a cap; the filled part is the share of it that is used, with the amounts "
        "beside it. Lost: the epsilon that all releases of the account really cost, by accounting."
    )
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 52 + 20 * max(1, lines))
        ticks, row = [], 0.0
        for account in accounts:
            _draw_heading(axes, row, account)
            for bar in account.bars:
                row += 1
                ticks.append((row, bar.window))
                _draw_bar(axes, row, bar)
            row += 1.2
        axes.set_yticks([at for at, _ in ticks], [window for _, window in ticks], fontsize=_FONT)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(max(row, 1.0) - 0.5, -0.6)
        axes.grid(visible=False)
        shares = range(0, 101, 25)
        axes.set_xticks(shares, [f"{share}%" for share in shares], fontsize=_FONT)
        axes.set_xlim(0, 142)
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_bounds(0, 100)
        axes.set_xlabel("share of the cap that is used", fontsize=_FONT)
        svg = to_svg(figure, key=key, title=title, description=description)
    columns = ("Account", "Window", "Cap", "Spent", "Share used", "Left", "Really lost, for life")
    return Plot(key, title, description, svg, columns, _rows(accounts))


def _rows(accounts: list[_Account]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            f"{account.dataset}, {account.purpose}",
            bar.window,
            f"{bar.cap:g}",
            f"{bar.spent:.3f}",
            f"{bar.used:.1f}%",
            f"{bar.cap - bar.spent:.3f}",
            account.lost,
        )
        for account in accounts
        for bar in account.bars
    )


def _account(budget: Budget) -> _Account:
    days = "a period" if budget.period_days is None else f"{budget.period_days} days"
    bars = tuple(
        _Bar(window, balance.cap, balance.spent)
        for window, balance in ((days, budget.period), ("life", budget.lifetime))
        if balance.cap is not None and balance.spent is not None
    )
    lost = "–" if budget.reported_epsilon is None else f"{budget.reported_epsilon:.3f}"
    return _Account(budget.dataset, budget.purpose, lost, bars)


def _draw_heading(axes: Axes, row: float, account: _Account) -> None:
    names = (shortened(name, _LONGEST_NAME) for name in (account.dataset, account.purpose))
    axes.text(0, row, ", ".join(names), color=_INK, va="center", fontsize=_FONT)
    axes.text(142, row, f"lost {account.lost}", color=_INK, ha="right", va="center", fontsize=_FONT)


def _draw_bar(axes: Axes, row: float, bar: _Bar) -> None:
    axes.barh(row, 100, color=_REST, height=0.62)
    axes.barh(row, min(bar.used, 100.0), color=SERIES[0], height=0.62)
    words = f"{bar.spent:.3f} of {bar.cap:g}"
    axes.text(102, row, words, va="center", fontsize=_FONT, color=_QUIET)
