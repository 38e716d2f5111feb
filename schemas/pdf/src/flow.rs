//! The order of a report on its pages: title, facts, sections; then the footers.

use std::rc::Rc;

use crate::PdfError;
use crate::chart::chart;
use crate::document::{Document, Section, Total};
use crate::fonts::Fonts;
use crate::sheet::{Drawing, Kind, Mark, Node, Role, Sheets, height, line_to, lines};
use crate::table::table;
use crate::template::{Length, Template, TextStyle, template};
use crate::text::{Shaped, Typesetter};

const TITLE_LINES_MAX: usize = 3;
const FACT_LINES_MAX: usize = 3;
const NOTE_LINES_MAX: usize = 2;
const PARAGRAPH_LINES_MAX: usize = 200;

/// Lays a report out on pages.
///
/// # Errors
/// A damaged template.
pub fn lay_out(document: &Document, fonts: &Fonts) -> Result<Sheets, PdfError> {
    let look = template()?;
    let mut sheets = Sheets::new(document.paper, &look.page);
    let mut type_ = Typesetter::new(fonts);
    top(&mut sheets, &mut type_, look, document);
    for (number, section) in document.sections.iter().enumerate() {
        sheets.y += if number == 0 { 0 } else { look.page.section_gap };
        match section {
            Section::Totals(totals) => totals_row(&mut sheets, &mut type_, look, totals),
            Section::Chart(section) => chart(&mut sheets, &mut type_, look, section),
            Section::Table(section) => {
                heading(&mut sheets, &mut type_, look, &section.title);
                table(&mut sheets, &mut type_, look, section);
            }
            Section::Text(section) => text(&mut sheets, &mut type_, look, section),
        }
    }
    footers(&mut sheets, &mut type_, look, document);
    Ok(sheets)
}

/// Adds lines that are one element, line by line, and breaks pages between them.
fn block(sheets: &mut Sheets, shaped: &[Rc<Shaped>], style: &TextStyle, kind: Kind) {
    let mut nodes = Vec::new();
    for line in shaped {
        sheets.need(style.line);
        let drawings = lines(std::slice::from_ref(line), style, sheets.left, sheets.y);
        nodes.push(sheets.content(drawings));
        sheets.y += style.line;
    }
    sheets.nodes.push(Node::Group(kind, nodes));
}

fn top(sheets: &mut Sheets, type_: &mut Typesetter<'_>, look: &Template, document: &Document) {
    let room = sheets.room();
    sheets.bookmark(&document.title);
    let title = type_.wrap(&document.title, &look.text.title, room, TITLE_LINES_MAX);
    block(sheets, &title, &look.text.title, Kind::Heading(1, document.title.clone()));
    if !document.subtitle.is_empty() {
        let subtitle = type_.wrap(&document.subtitle, &look.text.subtitle, room, TITLE_LINES_MAX);
        block(sheets, &subtitle, &look.text.subtitle, Kind::Paragraph);
    }
    sheets.y += look.facts.gap_before;
    for (label, value) in &document.facts {
        fact(sheets, type_, look, (label, value));
    }
    sheets.y += look.facts.gap_after;
}

fn fact(sheets: &mut Sheets, type_: &mut Typesetter<'_>, look: &Template, (label, value): (&str, &str)) {
    let (width, style) = (look.facts.label_width, &look.text.body);
    let value = type_.wrap(value, style, sheets.room() - width, FACT_LINES_MAX);
    let label = type_.cut(label, &look.text.label, width - look.chart.axis_gap);
    let tall = height(value.len(), style);
    sheets.need(tall);
    let rise = (style.line - look.text.label.line) / 2;
    let (left, y) = (sheets.left, sheets.y);
    let nodes =
        vec![sheets.content(lines(&[label], &look.text.label, left, y + rise)), sheets.content(lines(&value, style, left + width, y))];
    sheets.nodes.push(Node::Group(Kind::Paragraph, nodes));
    sheets.y += tall;
}

fn heading(sheets: &mut Sheets, type_: &mut Typesetter<'_>, look: &Template, title: &str) {
    if title.is_empty() {
        return;
    }
    let style = &look.text.heading;
    // A heading, the head of its table and two rows stay together.
    sheets.need(style.line * 2 + (look.text.cell.line + look.table.padding_y * 2) * 3);
    sheets.bookmark(title);
    let room = sheets.room();
    let shaped = type_.wrap(title, style, room, 2);
    block(sheets, &shaped, style, Kind::Heading(2, title.to_owned()));
    sheets.y += style.line / 5;
}

fn text(sheets: &mut Sheets, type_: &mut Typesetter<'_>, look: &Template, text: &str) {
    let (style, room) = (&look.text.body, sheets.room());
    for paragraph in text.lines().filter(|paragraph| !paragraph.trim().is_empty()) {
        let shaped = type_.wrap(paragraph, style, room, PARAGRAPH_LINES_MAX);
        block(sheets, &shaped, style, Kind::Paragraph);
        sheets.y += style.line / 3;
    }
}

/// Adds figures in boxes, as many in a row as leave room for each value.
fn totals_row(sheets: &mut Sheets, type_: &mut Typesetter<'_>, look: &Template, totals: &[Total]) {
    let (value, inner) = (&look.text.value, look.totals.padding * 2);
    let widest = totals.iter().map(|total| type_.line(&total.value, value.bold).width(value.size)).max().unwrap_or_default();
    let room = sheets.room();
    let width = |per_row: usize| {
        let count = Length::try_from(per_row.max(1)).unwrap_or(1);
        (room - look.totals.gap * (count - 1)) / count
    };
    let wanted = look.totals.per_row.min(totals.len()).max(1);
    let most = (1..=wanted).rev().find(|per_row| widest + inner <= width(*per_row)).unwrap_or(1);
    // Rows are filled evenly: two and two rather than three and one.
    let per_row = totals.len().div_ceil(totals.len().div_ceil(most).max(1)).max(1);
    let inside = width(per_row) - inner;
    let notes = totals.iter().map(|total| note(type_, look, total, inside).len()).max().unwrap_or_default();
    let tall = look.text.label.line + value.line + height(notes, &look.text.label) + inner;
    for row in totals.chunks(per_row) {
        sheets.need(tall);
        let mut x = sheets.left;
        for total in row {
            total_box(sheets, type_, look, (total, x, width(per_row), tall));
            x += width(per_row) + look.totals.gap;
        }
        sheets.y += tall + look.totals.gap;
    }
}

fn total_box(
    sheets: &mut Sheets,
    type_: &mut Typesetter<'_>,
    look: &Template,
    (total, x, width, height): (&Total, Length, Length, Length),
) {
    let y = sheets.y;
    sheets.decoration(vec![
        Drawing::Box { x, y, width, height, colour: look.totals.background },
        Drawing::Box { x, y, width: look.totals.accent_width, height, colour: look.totals.accent },
    ]);
    let (inside, mut y) = (width - look.totals.padding * 2, y + look.totals.padding);
    let mut nodes = Vec::new();
    for (text, style) in [(&total.label, &look.text.label), (&total.value, &look.text.value)] {
        if !text.is_empty() {
            let shaped = type_.cut(text, style, inside);
            nodes.push(sheets.content(lines(&[shaped], style, x + look.totals.padding, y)));
        }
        y += style.line;
    }
    let note = note(type_, look, total, inside);
    if !note.is_empty() {
        nodes.push(sheets.content(lines(&note, &look.text.label, x + look.totals.padding, y)));
    }
    sheets.nodes.push(Node::Group(Kind::Paragraph, nodes));
}

/// Returns the lines below a figure.
fn note(type_: &mut Typesetter<'_>, look: &Template, total: &Total, inside: Length) -> Vec<Rc<Shaped>> {
    if total.note.is_empty() { Vec::new() } else { type_.wrap(&total.note, &look.text.label, inside, NOTE_LINES_MAX) }
}

fn footers(sheets: &mut Sheets, type_: &mut Typesetter<'_>, look: &Template, document: &Document) {
    let (style, count) = (&look.text.footer, sheets.pages.len());
    let y = sheets.height - look.page.footer_rise - style.line / 2;
    let (left, right) = (sheets.left, sheets.right);
    for (number, page) in sheets.pages.iter_mut().enumerate() {
        let counter = type_.line(&format!("Page {} of {count}", number + 1), style.bold);
        let room = right - left - counter.width(style.size) - look.chart.label_gap;
        let text = type_.cut(&document.footer, style, room);
        let rule =
            Drawing::Box { x: left, y: y - style.line / 2, width: right - left, height: look.page.rule, colour: look.page.rule_colour };
        let mut drawings = vec![rule];
        drawings.extend(lines(&[text], style, left, y));
        drawings.push(line_to(right, y, style, &counter));
        page.push(Mark { role: Role::Footer, drawings });
    }
}
