//! Text in lines: shaping with fallback fonts, right-to-left order, widths, line breaks, ellipses.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use harfrust::{Direction, ShapeOptions, UnicodeBuffer};
use krilla::text::{GlyphId, KrillaGlyph};
use unicode_bidi::{BidiInfo, Level};

use crate::fonts::Fonts;
use crate::template::{Length, TextStyle};

/// Stands for a character that no font has.
const REPLACEMENT: char = '\u{fffd}';
const ELLIPSIS: char = '…';
/// Shaped texts that are kept. Tables repeat names and dates.
const CACHE_MAX: usize = 8_192;
/// A longer text is cut before it is measured: no cell shows so much.
const CHARACTERS_MAX: usize = 4_000;

/// A line of text as glyphs, from left to right.
pub struct Shaped {
    pub text: String,
    pub runs: Vec<Run>,
    /// The way that the cluster at a byte moves on, in millionths of the text size; by byte.
    advances: Vec<(usize, i64)>,
    millionths: i64,
}

/// Glyphs of one font.
pub struct Run {
    pub face: usize,
    pub bold: bool,
    pub glyphs: Vec<KrillaGlyph>,
    /// By glyph: the byte of its cluster, and its advance in millionths of the text size.
    advances: Vec<(usize, i64)>,
    millionths: i64,
}

impl Run {
    #[must_use]
    pub fn width(&self, size: Length) -> Length {
        scaled(self.millionths, size)
    }
}

impl Shaped {
    #[must_use]
    pub fn width(&self, size: Length) -> Length {
        scaled(self.millionths, size)
    }
}

fn scaled(millionths: i64, size: Length) -> Length {
    Length::try_from((millionths.saturating_mul(i64::from(size)) + 999_999) / 1_000_000).unwrap_or(Length::MAX)
}

/// Shapes texts, each once.
pub struct Typesetter<'a> {
    fonts: &'a Fonts,
    cache: HashMap<(String, bool), Rc<Shaped>>,
}

impl<'a> Typesetter<'a> {
    #[must_use]
    pub fn new(fonts: &'a Fonts) -> Self {
        Self { fonts, cache: HashMap::new() }
    }

    /// Shapes a text as one line.
    pub fn line(&mut self, text: &str, bold: bool) -> Rc<Shaped> {
        let key = (text.to_owned(), bold);
        if let Some(shaped) = self.cache.get(&key) {
            return shaped.clone();
        }
        if self.cache.len() >= CACHE_MAX {
            self.cache.clear();
        }
        let shaped = Rc::new(shape(self.fonts, &clean(text), bold));
        self.cache.insert(key, shaped.clone());
        shaped
    }

    /// Breaks a text into at most `lines_max` lines no wider than `width`. Text that does not fit ends with an ellipsis.
    pub fn wrap(&mut self, text: &str, style: &TextStyle, width: Length, lines_max: usize) -> Vec<Rc<Shaped>> {
        let whole = self.line(text, style.bold);
        if whole.width(style.size) <= width || lines_max == 0 {
            return vec![whole];
        }
        let mut lines = Vec::new();
        let mut start = 0;
        while start < whole.text.len() {
            let end = break_after(&whole, start, style.size, width);
            let rest = whole.text.get(start..).unwrap_or_default();
            if lines.len() + 1 == lines_max && end < whole.text.len() {
                lines.push(self.cut(rest, style, width));
                break;
            }
            let line = whole.text.get(start..end).unwrap_or_default().trim().to_owned();
            lines.push(self.line(&line, style.bold));
            start = end + whole.text.get(end..).map_or(0, |rest| rest.len() - rest.trim_start().len());
        }
        lines
    }

    /// Shapes as much of a text as fits; a cut one ends with an ellipsis.
    pub fn cut(&mut self, text: &str, style: &TextStyle, width: Length) -> Rc<Shaped> {
        let whole = self.line(text, style.bold);
        if whole.width(style.size) <= width {
            return whole;
        }
        let room = width - self.line("…", style.bold).width(style.size);
        let mut end = fitting(&whole, 0, style.size, room);
        loop {
            let short = format!("{}{ELLIPSIS}", whole.text.get(..end).unwrap_or_default().trim_end());
            let line = self.line(&short, style.bold);
            if line.width(style.size) <= width || end == 0 {
                return line;
            }
            end = whole.text.get(..end).and_then(|text| text.char_indices().next_back()).map_or(0, |(at, _)| at);
        }
    }
}

/// Makes white space and control characters spaces, and leaves out marks that draw nothing but change others.
fn clean(text: &str) -> String {
    let is_hidden = |c: &char| !matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{ad}');
    text.chars()
        .take(CHARACTERS_MAX)
        .filter(is_hidden)
        .map(|c| {
            if c.is_control() || c.is_whitespace() {
                ' '
            } else if is_private(c) {
                REPLACEMENT
            } else {
                c
            }
        })
        .collect()
}

/// Private characters mean nothing to others, and the standards refuse them.
fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

/// Returns the byte up to which text from `start` fits into `room`, at a cluster.
fn fitting(shaped: &Shaped, start: usize, size: Length, room: Length) -> usize {
    let mut used = 0;
    for (at, advance) in shaped.advances.iter().filter(|(at, _)| *at >= start) {
        used += advance;
        if scaled(used, size) > room {
            return *at;
        }
    }
    shaped.text.len()
}

/// Returns the byte at which a line from `start` ends: behind the last space or sign that fits, else within the word.
fn break_after(shaped: &Shaped, start: usize, size: Length, width: Length) -> usize {
    let fits = fitting(shaped, start, size, width);
    let rest = shaped.text.get(start..).unwrap_or_default();
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if fits >= shaped.text.len() {
        return shaped.text.len();
    }
    if shaped.text.get(fits..).is_some_and(|text| text.starts_with(' ')) {
        return fits.max(start + first);
    }
    let part = shaped.text.get(start..fits).unwrap_or_default();
    let is_in_number = |at: usize| {
        let (before, behind) = (part.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
        before.ends_with(|c: char| c.is_ascii_digit()) && behind.starts_with(|c: char| c.is_ascii_digit())
    };
    let opportunity = |(at, c): (usize, char)| {
        let is_sign = "/-_,;:.@".contains(c) && !(matches!(c, ',' | '.') && is_in_number(at));
        (c == ' ' || is_sign || is_ideograph(c)).then_some(start + at + c.len_utf8())
    };
    let third = part.len() / 3;
    let found = part.char_indices().rev().find_map(opportunity).filter(|end| *end > start + third || rest.starts_with(' '));
    found.unwrap_or(fits).max(start + first)
}

/// Chinese, Japanese and Korean text breaks between any two characters.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

fn shape(fonts: &Fonts, text: &str, bold: bool) -> Shaped {
    let mut shaped = Shaped { text: text.to_owned(), runs: Vec::new(), advances: Vec::new(), millionths: 0 };
    for (range, right_to_left) in directions(text) {
        let mut parts = by_font(fonts, text, range, bold);
        if right_to_left {
            parts.reverse();
        }
        for (range, face) in parts {
            let run = match face {
                Some(face) => shape_run(fonts, text, &range, (face, bold, right_to_left)),
                None => replace(fonts, text, &range, bold),
            };
            shaped.millionths += run.millionths;
            shaped.runs.push(run);
        }
    }
    shaped.advances = shaped.runs.iter().flat_map(|run| run.advances.iter().copied()).collect();
    shaped.advances.sort_by_key(|(at, _)| *at);
    shaped.advances.dedup_by(|later, first| {
        let same = later.0 == first.0;
        first.1 += if same { later.1 } else { 0 };
        same
    });
    shaped
}

/// Returns the parts of a line that run in one direction, from left to right; the flag says right-to-left.
fn directions(text: &str) -> Vec<(Range<usize>, bool)> {
    if text.is_ascii() {
        return vec![(0..text.len(), false)];
    }
    let bidi = BidiInfo::new(text, Some(Level::ltr()));
    let mut parts = Vec::new();
    for paragraph in &bidi.paragraphs {
        let (levels, runs) = bidi.visual_runs(paragraph, paragraph.range.clone());
        parts.extend(runs.into_iter().map(|run| {
            let is_rtl = levels.get(run.start).is_some_and(Level::is_rtl);
            (run, is_rtl)
        }));
    }
    parts
}

/// Splits a part of a text where the font changes, in reading order.
fn by_font(fonts: &Fonts, text: &str, range: Range<usize>, bold: bool) -> Vec<(Range<usize>, Option<usize>)> {
    let mut parts: Vec<(Range<usize>, Option<usize>)> = Vec::new();
    let start = range.start;
    for (at, character) in text.get(range).unwrap_or_default().char_indices() {
        let (at, last) = (start + at, parts.last_mut());
        let face = fonts.find(character, bold, last.as_ref().and_then(|(_, face)| *face));
        match last {
            Some((range, current)) if *current == face => range.end = at + character.len_utf8(),
            _ => parts.push((at..at + character.len_utf8(), face)),
        }
    }
    parts
}

#[expect(clippy::cast_precision_loss, reason = "krilla takes 32-bit floats; font units are small")]
fn shape_run(fonts: &Fonts, text: &str, range: &Range<usize>, (face, bold, right_to_left): (usize, bool, bool)) -> Run {
    let mut run = Run { face, bold, glyphs: Vec::new(), advances: Vec::new(), millionths: 0 };
    let Some((font, tables)) = fonts.face(face, bold).and_then(|font| Some((font, font.tables()?))) else { return run };
    let mut buffer = UnicodeBuffer::new();
    for (at, character) in text.get(range.clone()).unwrap_or_default().char_indices() {
        buffer.add(character, u32::try_from(range.start + at).unwrap_or(u32::MAX));
    }
    buffer.guess_segment_properties();
    buffer.set_direction(if right_to_left { Direction::RightToLeft } else { Direction::LeftToRight });
    let shaped = font.shaper.shaper(&tables).build().shape(buffer, ShapeOptions::new());
    let mut starts: Vec<usize> = shaped.glyph_infos().iter().map(|info| info.cluster as usize).collect();
    starts.sort_unstable();
    starts.dedup();
    let em = font.units_per_em as f32;
    for (info, place) in shaped.glyph_infos().iter().zip(shaped.glyph_positions()) {
        let start = info.cluster as usize;
        let end = starts.get(starts.partition_point(|other| *other <= start)).copied().unwrap_or(range.end);
        let ems = |units: i32| units as f32 / em;
        let (advance, x, y) = (ems(place.x_advance), ems(place.x_offset), ems(place.y_offset));
        let millionths = i64::from(place.x_advance) * 1_000_000 / font.units_per_em.max(1);
        run.millionths += millionths;
        run.advances.push((start, millionths));
        run.glyphs.push(KrillaGlyph::new(GlyphId::new(info.glyph_id), advance, x, y, 0.0, start..end, None));
    }
    run
}

/// Draws a visible sign for each character that no font has.
fn replace(fonts: &Fonts, text: &str, range: &Range<usize>, bold: bool) -> Run {
    let signs: String = text.get(range.clone()).unwrap_or_default().chars().map(|_| REPLACEMENT).collect();
    let mut run = shape_run(fonts, &signs, &(0..signs.len()), (0, bold, false));
    let starts: Vec<usize> = text.get(range.clone()).unwrap_or_default().char_indices().map(|(at, _)| range.start + at).collect();
    for (place, glyph) in run.glyphs.iter_mut().enumerate() {
        let start = starts.get(place).copied().unwrap_or(range.start);
        glyph.text_range = start..starts.get(place + 1).copied().unwrap_or(range.end);
        if let Some((at, _)) = run.advances.get_mut(place) {
            *at = start;
        }
    }
    run
}
