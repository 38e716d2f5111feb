//! Stacked bars over time: round ticks, no more labels than fit, and a description in words.

use crate::document::Chart;
use crate::figure::grouped;
use crate::sheet::{Drawing, Kind, Node, Sheets, line_to, lines};
use crate::template::{Colour, Length, Template};
use crate::text::Typesetter;

/// The axis from the lowest to the highest tick, in units of the values.
#[derive(Debug, PartialEq, Eq)]
pub struct Axis {
    pub lowest: i128,
    pub highest: i128,
    pub step: i128,
}

impl Axis {
    /// Returns an axis with about so many steps of 1, 2 or 5 times a power of ten. It has zero on it.
    #[must_use]
    pub fn new(least: i128, most: i128, steps: i32) -> Self {
        let (least, most) = (least.min(0), most.max(0));
        if least == most {
            return Self { lowest: 0, highest: 1, step: 1 };
        }
        let rough = ((most - least) / i128::from(steps.max(1))).max(1);
        let mut power = 1;
        while power * 10 <= rough {
            power *= 10;
        }
        let step = [1, 2, 5, 10].map(|factor| factor * power).into_iter().find(|step| *step >= rough).unwrap_or(power * 10);
        Self { lowest: least.div_euclid(step) * step, highest: -(-most).div_euclid(step) * step, step }
    }

    fn ticks(&self) -> impl Iterator<Item = i128> {
        let (lowest, step) = (self.lowest, self.step);
        (0..=(self.highest - lowest) / step).map(move |number| lowest + number * step)
    }

    /// Returns the height of a value above the lowest tick.
    fn height(&self, value: i128, plot: Length) -> Length {
        Length::try_from((value - self.lowest) * i128::from(plot) / (self.highest - self.lowest).max(1)).unwrap_or(plot)
    }
}

/// Writes an integer with decimals: without trailing zeros, with thousands in groups.
#[must_use]
pub fn number(value: i128, decimals: u32) -> String {
    let one = 10_i128.pow(decimals.min(18));
    let (whole, part) = (grouped(&(value / one).unsigned_abs().to_string()), (value % one).unsigned_abs());
    let fraction = format!("{part:0width$}", width = decimals.min(18) as usize);
    let fraction = fraction.trim_end_matches('0');
    let sign = if value < 0 { "−" } else { "" };
    if part == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Adds a chart with its heading; both stand on one page.
pub fn chart(sheets: &mut Sheets, type_: &mut Typesetter<'_>, look: &Template, chart: &Chart) {
    let heading = look.text.heading;
    let legend_height = if chart.series.len() > 1 { look.text.axis.line } else { 0 };
    let below = look.text.axis.line * 3 / 2 + legend_height;
    let above = look.text.axis.line * 3 / 2;
    sheets.need(heading.line + above + look.chart.plot_height + below);
    sheets.bookmark(&chart.title);
    let title = type_.cut(&chart.title, &heading, sheets.room());
    let drawings = lines(&[title], &heading, sheets.left, sheets.y);
    let heading_node = sheets.content(drawings);
    sheets.nodes.push(Node::Group(Kind::Heading(2, chart.title.clone()), vec![heading_node]));
    sheets.y += heading.line;
    let drawings = plot(sheets, type_, look, chart);
    let figure = sheets.content(drawings);
    sheets.nodes.push(Node::Group(Kind::Figure(description(chart)), vec![figure]));
    sheets.y += above + look.chart.plot_height + below;
}

fn plot(sheets: &Sheets, type_: &mut Typesetter<'_>, look: &Template, chart: &Chart) -> Vec<Drawing> {
    let (least, most) = bounds(chart);
    let axis = Axis::new(least, most, look.chart.ticks);
    let style = &look.text.axis;
    let is_empty = least == 0 && most == 0;
    let ticks: Vec<_> = axis
        .ticks()
        .filter(|tick| !is_empty || *tick == 0)
        .map(|tick| (tick, type_.line(&number(tick, chart.decimals), style.bold)))
        .collect();
    let label_width = ticks.iter().map(|(_, label)| label.width(style.size)).max().unwrap_or_default();
    let plot = Plot {
        left: sheets.left + label_width + look.chart.axis_gap,
        right: sheets.right,
        top: sheets.y + style.line * 3 / 2,
        height: look.chart.plot_height,
    };
    let unit = type_.cut(&chart.unit, style, sheets.room());
    let mut drawings = lines(&[unit], style, sheets.left, sheets.y - style.line / 8);
    let thickness = look.page.rule;
    for (tick, label) in &ticks {
        let y = plot.top + plot.height - axis.height(*tick, plot.height);
        let colour = if *tick == 0 { look.chart.base_colour } else { look.chart.grid_colour };
        drawings.push(Drawing::Box { x: plot.left, y: y - thickness / 2, width: plot.right - plot.left, height: thickness, colour });
        drawings.push(line_to(plot.left - look.chart.axis_gap, y - style.line / 2, style, label));
    }
    drawings.extend(plot.bars(look, chart, &axis));
    if is_empty {
        let text = type_.line("No amounts in this period", style.bold);
        let middle = i32::midpoint(plot.left, plot.right) + text.width(style.size) / 2;
        drawings.push(line_to(middle, plot.top + plot.height / 2, style, &text));
    }
    drawings.extend(plot.labels(type_, look, chart));
    if chart.series.len() > 1 {
        drawings.extend(plot.legend(type_, look, chart));
    }
    drawings
}

struct Plot {
    left: Length,
    right: Length,
    top: Length,
    height: Length,
}

impl Plot {
    /// Returns the place of one bar: its left edge and its width.
    fn slot(&self, place: usize, count: usize) -> (Length, Length) {
        let edge = |place: usize| {
            let (place, count) = (i64::try_from(place).unwrap_or(0), i64::try_from(count.max(1)).unwrap_or(1));
            self.left + Length::try_from(i64::from(self.right - self.left) * place / count).unwrap_or_default()
        };
        (edge(place), edge(place + 1) - edge(place))
    }

    fn bars(&self, look: &Template, chart: &Chart, axis: &Axis) -> Vec<Drawing> {
        let mut drawings = Vec::new();
        for place in 0..chart.labels.len() {
            let (left, slot) = self.slot(place, chart.labels.len());
            let width = (slot * look.chart.bar_share / 100).clamp(1, look.chart.bar_width_max);
            let x = left + (slot - width) / 2;
            let (mut above, mut below) = (0_i128, 0_i128);
            for (number, series) in chart.series.iter().enumerate() {
                let value = i128::from(series.values.get(place).copied().unwrap_or_default());
                let stack = if value < 0 { &mut below } else { &mut above };
                let (from, to) = (axis.height(*stack, self.height), axis.height(*stack + value, self.height));
                *stack += value;
                // Something that is not nothing is seen.
                let height = if value == 0 { continue } else { (to - from).abs().max(look.page.rule) };
                let y = self.top + self.height - from.max(to);
                drawings.push(Drawing::Box { x, y, width, height, colour: colour(look, number) });
            }
        }
        drawings
    }

    /// Returns labels below the bars, each in the middle of its bar; some are left out so that they keep a distance.
    fn labels(&self, type_: &mut Typesetter<'_>, look: &Template, chart: &Chart) -> Vec<Drawing> {
        let style = &look.text.axis;
        let widest = (self.right - self.left) / 3;
        let labels: Vec<_> = chart.labels.iter().map(|label| type_.cut(label, style, widest)).collect();
        let most = labels.iter().map(|label| label.width(style.size)).max().unwrap_or_default() + look.chart.label_gap;
        let slot = ((self.right - self.left) / Length::try_from(labels.len().max(1)).unwrap_or(Length::MAX)).max(1);
        let every = usize::try_from((most + slot - 1) / slot).unwrap_or(1).max(1);
        let y = self.top + self.height + style.line / 3;
        let (mut drawings, mut free) = (Vec::new(), Length::MIN);
        for (place, label) in labels.iter().enumerate().step_by(every) {
            let (left, slot) = self.slot(place, labels.len());
            let width = label.width(style.size);
            let right = (left + slot / 2 + width / 2).clamp(self.left + width.min(slot), self.right.max(self.left + width));
            if right - width >= free {
                drawings.push(line_to(right, y, style, label));
                free = right + look.chart.label_gap / 2;
            }
        }
        drawings
    }

    fn legend(&self, type_: &mut Typesetter<'_>, look: &Template, chart: &Chart) -> Vec<Drawing> {
        let (style, size) = (&look.text.axis, look.chart.legend_box);
        let y = self.top + self.height + style.line * 3 / 2;
        let count = Length::try_from(chart.series.len().max(1)).unwrap_or(Length::MAX);
        let room = (self.right - self.left) / count - size - size / 2 - look.chart.legend_gap;
        let mut x = self.left;
        let mut drawings = Vec::new();
        for (number, series) in chart.series.iter().enumerate() {
            let name = type_.cut(&series.name, style, room.max(size * 3));
            drawings.push(Drawing::Box { x, y: y + (style.line - size) / 2, width: size, height: size, colour: colour(look, number) });
            x += size + size / 2 + name.width(style.size);
            drawings.push(line_to(x, y, style, &name));
            x += look.chart.legend_gap;
        }
        drawings
    }
}

fn colour(look: &Template, number: usize) -> Colour {
    let colours = &look.chart.colours;
    colours.get(number % colours.len().max(1)).copied().unwrap_or(look.chart.base_colour)
}

/// Returns the sums of the negative and of the positive values of each bar, as the least and the most of all.
fn bounds(chart: &Chart) -> (i128, i128) {
    let mut bounds = (0, 0);
    for place in 0..chart.labels.len() {
        let values = || chart.series.iter().filter_map(|series| series.values.get(place)).map(|value| i128::from(*value));
        bounds.0 = values().filter(|value| *value < 0).sum::<i128>().min(bounds.0);
        bounds.1 = values().filter(|value| *value > 0).sum::<i128>().max(bounds.1);
    }
    bounds
}

/// Describes a chart for those who do not see it.
fn description(chart: &Chart) -> String {
    let unit = if chart.unit.is_empty() { String::new() } else { format!(" {}", chart.unit) };
    let period = match (chart.labels.first(), chart.labels.last()) {
        (Some(first), Some(last)) if first != last => format!(" from {first} to {last}"),
        (Some(first), _) => format!(" for {first}"),
        (None, _) => String::new(),
    };
    let mut text = format!("Bar chart: {}, {} bars{period}.", chart.title, chart.labels.len());
    for series in &chart.series {
        let sum = series.values.iter().map(|value| i128::from(*value)).sum();
        let most = series.values.iter().max().copied().unwrap_or_default();
        let name = if series.name.is_empty() { String::new() } else { format!("{}: ", series.name) };
        let (sum, most) = (number(sum, chart.decimals), number(i128::from(most), chart.decimals));
        text.extend([" ", &name, "sum ", &sum, &unit, ", highest ", &most, &unit, "."]);
    }
    text
}
