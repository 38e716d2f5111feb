//! Tables: column widths, repeated heads, stripes, page breaks between rows.

use std::rc::Rc;

use crate::document::{Align, Table};
use crate::sheet::{Drawing, Kind, Node, Sheets, height, line_to};
use crate::template::{Colour, Length, Template, TextStyle};
use crate::text::{Shaped, Typesetter};

/// Rows that are measured for the widths of the columns; later ones wrap if they are wider.
const MEASURED_ROWS: usize = 5_000;

struct Layout<'a> {
    table: &'a Table,
    look: &'a Template,
    widths: Vec<Length>,
}

/// A row in lines, by cell.
struct Lines {
    cells: Vec<Vec<Rc<Shaped>>>,
    height: Length,
}

/// Adds a table below its heading.
pub fn table(sheets: &mut Sheets, type_: &mut Typesetter<'_>, look: &Template, table: &Table) {
    if table.columns.is_empty() {
        return;
    }
    let layout = Layout { table, look, widths: widths(sheets.room(), type_, look, table) };
    let titles: Vec<String> = table.columns.iter().map(|column| column.title.clone()).collect();
    let head = layout.lines(type_, &titles, &look.text.head);
    let first = table.rows.first().map_or(0, |row| layout.lines(type_, row, &look.text.cell).height);
    sheets.need(head.height + first);
    let head_row = layout.head(sheets, &head);
    let (mut body, mut foot) = (Vec::new(), Vec::new());
    let total = table.total.as_ref().map(|total| layout.lines(type_, total, &look.text.total));
    for (number, cells) in table.rows.iter().enumerate() {
        let row = layout.lines(type_, cells, &look.text.cell);
        let is_last = number + 1 == table.rows.len();
        let with_total = total.as_ref().filter(|_| is_last).map_or(0, |total| total.height);
        if sheets.need(row.height + with_total) {
            layout.repeat_head(sheets, &head);
        }
        let stripe = (number % 2 == 1).then_some(look.table.stripe);
        body.push(layout.row(sheets, &row, &look.text.cell, stripe));
    }
    Layout::rule(sheets, look.page.rule, look.page.rule_colour);
    if let Some(total) = total {
        if sheets.need(total.height) {
            layout.repeat_head(sheets, &head);
        }
        Layout::rule(sheets, look.table.total_rule, look.text.total.colour);
        foot.push(layout.row(sheets, &total, &look.text.total, None));
    }
    let parts = [(Kind::Head, vec![head_row]), (Kind::Body, body), (Kind::Foot, foot)];
    let groups = parts.into_iter().filter(|(_, rows)| !rows.is_empty()).map(|(kind, rows)| Node::Group(kind, rows)).collect();
    sheets.nodes.push(Node::Group(Kind::Table(table.title.clone()), groups));
}

impl Layout<'_> {
    fn lines(&self, type_: &mut Typesetter<'_>, cells: &[String], style: &TextStyle) -> Lines {
        let padding = self.look.table.padding_x * 2;
        let cell = |(place, width): (usize, &Length)| {
            let text = cells.get(place).map_or("", String::as_str);
            type_.wrap(text, style, (width - padding).max(style.size), self.look.table.lines_max)
        };
        let cells: Vec<_> = self.widths.iter().enumerate().map(cell).collect();
        let most = cells.iter().map(Vec::len).max().unwrap_or(1);
        Lines { cells, height: height(most, style) + self.look.table.padding_y * 2 }
    }

    /// Returns the drawings of each cell of a row at the present height.
    fn drawings(&self, sheets: &Sheets, row: &Lines, style: &TextStyle) -> Vec<Vec<Drawing>> {
        let padding = self.look.table.padding_x;
        let mut left = sheets.left;
        let mut cells = Vec::with_capacity(row.cells.len());
        for ((lines, width), column) in row.cells.iter().zip(&self.widths).zip(&self.table.columns) {
            let mut y = sheets.y + self.look.table.padding_y;
            let mut drawings = Vec::with_capacity(lines.len());
            for line in lines {
                let right = match column.align {
                    Align::Left => left + padding + line.width(style.size),
                    Align::Right => left + width - padding,
                };
                drawings.push(line_to(right, y, style, line));
                y += style.line;
            }
            cells.push(drawings);
            left += width;
        }
        cells
    }

    fn background(sheets: &mut Sheets, height: Length, colour: Colour) {
        let (x, y, width) = (sheets.left, sheets.y, sheets.room());
        sheets.decoration(vec![Drawing::Box { x, y, width, height, colour }]);
    }

    fn head(&self, sheets: &mut Sheets, head: &Lines) -> Node {
        Self::background(sheets, head.height, self.look.table.head_background);
        let drawings = self.drawings(sheets, head, &self.look.text.head);
        let cells = drawings.into_iter().map(|cell| Node::Group(Kind::HeadCell, vec![sheets.content(cell)])).collect();
        sheets.y += head.height;
        Node::Group(Kind::Row, cells)
    }

    /// A head that repeats on a further page is not read out again.
    fn repeat_head(&self, sheets: &mut Sheets, head: &Lines) {
        Self::background(sheets, head.height, self.look.table.head_background);
        let drawings = self.drawings(sheets, head, &self.look.text.head).into_iter().flatten().collect();
        sheets.decoration(drawings);
        sheets.y += head.height;
    }

    fn row(&self, sheets: &mut Sheets, row: &Lines, style: &TextStyle, stripe: Option<Colour>) -> Node {
        if let Some(colour) = stripe {
            Self::background(sheets, row.height, colour);
        }
        let drawings = self.drawings(sheets, row, style);
        let cells = drawings.into_iter().map(|cell| Node::Group(Kind::Cell, vec![sheets.content(cell)])).collect();
        sheets.y += row.height;
        Node::Group(Kind::Row, cells)
    }

    fn rule(sheets: &mut Sheets, thickness: Length, colour: Colour) {
        Self::background(sheets, thickness, colour);
        sheets.y += thickness;
    }
}

/// Returns the widths of the columns, which sum to `room`. Figures get what they need, up to a share of all; text gets the rest by weight, and no
/// more than it needs as long as others need some.
fn widths(room: Length, type_: &mut Typesetter<'_>, look: &Template, table: &Table) -> Vec<Length> {
    let needs = needs(type_, look, table);
    let is_figures: Vec<bool> = table.columns.iter().map(|column| column.align == Align::Right).collect();
    let weights: Vec<i64> = table.columns.iter().map(|column| i64::from(column.weight.max(1))).collect();
    let all: i64 = needs.iter().map(|need| i64::from(*need)).sum();
    if all <= i64::from(room) {
        let spare = share(room - Length::try_from(all).unwrap_or(room), &weights);
        return needs.iter().zip(spare).map(|(need, spare)| need + spare).collect();
    }
    let figures: Length = needs.iter().zip(&is_figures).filter(|(_, is)| **is).map(|(need, _)| *need).fold(0, Length::saturating_add);
    let has_text = is_figures.contains(&false);
    let bound = if has_text { room / 100 * look.table.figures_share_max } else { room };
    let for_figures = figures.min(bound);
    let figure_weights: Vec<i64> = needs.iter().zip(&is_figures).map(|(need, is)| if *is { i64::from(*need) } else { 0 }).collect();
    let figure_widths = share(for_figures, &figure_weights);
    let short = |(need, is): (&Length, &bool)| if *is { Some(0) } else { Some(*need).filter(|need| *need <= look.table.short_text) };
    let settled = needs.iter().zip(&is_figures).map(short).collect();
    let text_widths = by_weight(room - for_figures, &needs, &weights, settled);
    let pick = |place: usize| if is_figures.get(place) == Some(&true) { figure_widths.get(place) } else { text_widths.get(place) };
    (0..needs.len()).map(|place| pick(place).copied().unwrap_or_default()).collect()
}

/// Returns the width that each column would need for one line in each cell, with its padding.
fn needs(type_: &mut Typesetter<'_>, look: &Template, table: &Table) -> Vec<Length> {
    let mut needs = Vec::with_capacity(table.columns.len());
    for (place, column) in table.columns.iter().enumerate() {
        let mut most = 0;
        let mut measure = |text: &str, style: &TextStyle| most = type_.line(text, style.bold).width(style.size).max(most);
        measure(&column.title, &look.text.head);
        for cell in table.rows.iter().take(MEASURED_ROWS).filter_map(|row| row.get(place)) {
            measure(cell, &look.text.cell);
        }
        if let Some(cell) = table.total.as_ref().and_then(|total| total.get(place)) {
            measure(cell, &look.text.total);
        }
        needs.push(most + look.table.padding_x * 2);
    }
    needs
}

/// Shares room among the columns of text that have no width yet. A column that needs less than its share leaves the rest to the others.
fn by_weight(room: Length, needs: &[Length], weights: &[i64], mut settled: Vec<Option<Length>>) -> Vec<Length> {
    if settled.iter().flatten().sum::<Length>() > room || settled.iter().all(Option::is_some) {
        // Too many short columns: all share by weight. Figures are settled with 0.
        settled = settled.into_iter().map(|width| width.filter(|width| *width == 0)).collect();
    }
    loop {
        let used: Length = settled.iter().flatten().sum();
        let open: Vec<i64> = settled.iter().zip(weights).map(|(width, weight)| if width.is_none() { *weight } else { 0 }).collect();
        let shares = share(room - used, &open);
        let small = |place: &usize| settled.get(*place).is_some_and(Option::is_none) && needs.get(*place) < shares.get(*place);
        let found: Vec<usize> = (0..needs.len()).filter(small).collect();
        if found.is_empty() || found.len() == open.iter().filter(|weight| **weight > 0).count() {
            return settled.iter().zip(shares).map(|(width, share)| width.unwrap_or(share)).collect();
        }
        for place in found {
            if let (Some(width), Some(need)) = (settled.get_mut(place), needs.get(place)) {
                *width = Some(*need);
            }
        }
    }
}

/// Shares a length by weights without a rest.
pub(crate) fn share(room: Length, weights: &[i64]) -> Vec<Length> {
    let all: i64 = weights.iter().sum::<i64>().max(1);
    let (mut before, mut edge) = (0_i64, 0);
    let mut parts = Vec::with_capacity(weights.len());
    for weight in weights {
        before += weight;
        let end = Length::try_from(i64::from(room) * before / all).unwrap_or(room);
        parts.push(end - edge);
        edge = end;
    }
    parts
}
