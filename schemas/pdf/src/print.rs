//! Pages as a PDF file: drawings, tags, outline, properties. Here alone lengths become floats.

use std::num::NonZeroU16;

use chrono::{DateTime, Datelike, Timelike};
use krilla::SerializeSettings;
use krilla::color::rgb;
use krilla::configure::{Accessibility, Archival, Configuration, ConfigurationBuilder};
use krilla::destination::XyzDestination;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime as PdfTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::surface::Surface;
use krilla::tagging::{Artifact, ArtifactType, ContentTag, Identifier, SpanTag, TableHeaderScope, Tag, TagGroup, TagTree};

use crate::PdfError;
use crate::document::Document;
use crate::fonts::Fonts;
use crate::sheet::{Drawing, Kind, Mark, Node, Role, Sheets};
use crate::template::{Colour, Length};

/// Writes the pages. A report that the strict standards refuse, for a sign in a name, is written without their mark.
///
/// # Errors
/// The format cannot hold the report.
pub fn print(document: &Document, sheets: &Sheets, fonts: &Fonts) -> Result<Vec<u8>, PdfError> {
    let strict =
        ConfigurationBuilder::new().with_archival_validator(Archival::A2_A).with_accessibility_validator(Accessibility::UA1).finish();
    let strict = strict.map_err(|error| PdfError::Write(format!("{error:?}")))?;
    write(document, sheets, fonts, strict).or_else(|_| write(document, sheets, fonts, Configuration::default()))
}

fn write(document: &Document, sheets: &Sheets, fonts: &Fonts, configuration: Configuration) -> Result<Vec<u8>, PdfError> {
    let mut pdf = krilla::Document::new_with(SerializeSettings { configuration, ..SerializeSettings::default() });
    let mut identifiers: Vec<Option<Identifier>> = Vec::new();
    identifiers.resize_with(sheets.contents, || None);
    for marks in &sheets.pages {
        let settings = PageSettings::from_wh(points(sheets.width), points(sheets.height));
        let mut page = pdf.start_page_with(settings.ok_or_else(|| PdfError::Write("a page without a size".to_owned()))?);
        let mut surface = page.surface();
        for mark in marks {
            let identifier = draw_mark(&mut surface, fonts, mark);
            if let Role::Content(number) = mark.role
                && let Some(place) = identifiers.get_mut(number)
            {
                *place = Some(identifier);
            }
        }
        surface.finish();
        page.finish();
    }
    let mut tree = TagTree::new().with_lang(Some(language(document)));
    for group in sheets.nodes.iter().filter_map(|node| group(node, &mut identifiers)) {
        tree.push(group);
    }
    pdf.set_tag_tree(tree);
    pdf.set_outline(outline(sheets));
    pdf.set_metadata(metadata(document));
    pdf.finish().map_err(|error| PdfError::Write(error.to_string()))
}

#[expect(clippy::cast_precision_loss, reason = "a page has less than 100,000 hundredths of a point")]
fn points(length: Length) -> f32 {
    length as f32 / 100.0
}

fn language(document: &Document) -> String {
    if document.language.is_empty() { "en".to_owned() } else { document.language.clone() }
}

fn metadata(document: &Document) -> Metadata {
    let metadata = Metadata::new().title(document.title.clone()).language(language(document)).creator("ARouter".to_owned());
    let Some(time) = DateTime::from_timestamp_micros(document.created_us) else { return metadata };
    let small = |number: u32| u8::try_from(number).unwrap_or_default();
    let date = PdfTime::new(u16::try_from(time.year()).unwrap_or(1970)).month(small(time.month())).day(small(time.day()));
    let date = date.hour(small(time.hour())).minute(small(time.minute())).second(small(time.second()));
    metadata.creation_date(date.utc_offset_hour(0).utc_offset_minute(0))
}

fn outline(sheets: &Sheets) -> Outline {
    let mut outline = Outline::new();
    for mark in &sheets.bookmarks {
        let place = XyzDestination::new(mark.page, Point::from_xy(points(sheets.left), points(mark.y)));
        outline.push_child(OutlineNode::new(mark.title.clone(), place));
    }
    outline
}

fn draw_mark(surface: &mut Surface<'_>, fonts: &Fonts, mark: &Mark) -> Identifier {
    let artifact = |kind| ContentTag::Artifact(Artifact::new(kind, None));
    let is_text = mark.drawings.iter().all(|drawing| matches!(drawing, Drawing::Text { .. }));
    let tag = match mark.role {
        Role::Content(_) if is_text => ContentTag::Span(SpanTag::empty()),
        Role::Content(_) => ContentTag::Other,
        Role::Decoration => artifact(ArtifactType::Layout),
        Role::Footer => artifact(ArtifactType::Footer),
    };
    let identifier = surface.start_tagged(tag);
    for drawing in &mark.drawings {
        draw(surface, fonts, drawing);
    }
    surface.end_tagged();
    identifier
}

fn draw(surface: &mut Surface<'_>, fonts: &Fonts, drawing: &Drawing) {
    match drawing {
        Drawing::Box { x, y, width, height, colour } => {
            let mut path = PathBuilder::new();
            if let Some(rect) = Rect::from_xywh(points(*x), points(*y), points(*width), points(*height)) {
                path.push_rect(rect);
            }
            if let Some(path) = path.finish() {
                surface.set_fill(Some(fill(*colour)));
                surface.draw_path(&path);
            }
        }
        Drawing::Text { x, baseline, size, colour, shaped } => {
            surface.set_fill(Some(fill(*colour)));
            let mut x = *x;
            for run in &shaped.runs {
                if let Some(face) = fonts.face(run.face, run.bold).filter(|_| !run.glyphs.is_empty()) {
                    let start = Point::from_xy(points(x), points(*baseline));
                    surface.draw_glyphs(start, &run.glyphs, face.font.clone(), &shaped.text, points(*size), false);
                }
                x += run.width(*size);
            }
        }
    }
}

fn fill(Colour(red, green, blue): Colour) -> Fill {
    Fill { paint: rgb::Color::new(red, green, blue).into(), opacity: NormalizedF32::ONE, rule: FillRule::NonZero }
}

fn group(node: &Node, identifiers: &mut [Option<Identifier>]) -> Option<TagGroup> {
    let Node::Group(kind, children) = node else { return None };
    let mut group = tag(kind);
    for child in children {
        match child {
            Node::Content(number) => {
                if let Some(identifier) = identifiers.get_mut(*number).and_then(Option::take) {
                    group.push(identifier);
                }
            }
            Node::Group(..) => {
                if let Some(child) = self::group(child, identifiers) {
                    group.push(child);
                }
            }
        }
    }
    Some(group)
}

fn tag(kind: &Kind) -> TagGroup {
    let level = |level: u16| NonZeroU16::new(level).unwrap_or(NonZeroU16::MIN);
    match kind {
        Kind::Heading(number, title) => TagGroup::new(Tag::Hn(level(*number), Some(title.clone()))),
        Kind::Paragraph => TagGroup::new(Tag::P),
        Kind::Table(title) => TagGroup::new(Tag::Table.with_summary(Some(title.clone()))),
        Kind::Head => TagGroup::new(Tag::THead),
        Kind::Body => TagGroup::new(Tag::TBody),
        Kind::Foot => TagGroup::new(Tag::TFoot),
        Kind::Row => TagGroup::new(Tag::TR),
        Kind::HeadCell => TagGroup::new(Tag::TH(TableHeaderScope::Column)),
        Kind::Cell => TagGroup::new(Tag::TD),
        Kind::Figure(description) => TagGroup::new(Tag::Figure(Some(description.clone()))),
    }
}
