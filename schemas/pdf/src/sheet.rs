//! Pages as lists of marks, and the tree that says which mark is a heading, a cell or a figure.

use std::rc::Rc;

use crate::document::Paper;
use crate::template::{Colour, Length, PageLook, TextStyle};
use crate::text::Shaped;

/// A thing on a page. Lengths are counted from the upper left corner.
pub enum Drawing {
    Text { x: Length, baseline: Length, size: Length, colour: Colour, shaped: Rc<Shaped> },
    Box { x: Length, y: Length, width: Length, height: Length, colour: Colour },
}

/// The meaning of drawings that stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A part of the contents, by number.
    Content(usize),
    /// Decoration: lines, backgrounds, repeated heads.
    Decoration,
    /// The footer of a page.
    Footer,
}

pub struct Mark {
    pub role: Role,
    pub drawings: Vec<Drawing>,
}

/// The structure of the contents.
pub enum Node {
    /// A mark, by its number of content.
    Content(usize),
    Group(Kind, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A heading with its level, 1 or 2.
    Heading(u16, String),
    Paragraph,
    Table(String),
    Head,
    Body,
    Foot,
    Row,
    HeadCell,
    Cell,
    /// A figure with its description.
    Figure(String),
}

/// The place of a heading, for the outline.
pub struct Bookmark {
    pub title: String,
    pub page: usize,
    pub y: Length,
}

/// The pages of a report while they are filled from top to bottom.
pub struct Sheets {
    pub pages: Vec<Vec<Mark>>,
    pub nodes: Vec<Node>,
    pub bookmarks: Vec<Bookmark>,
    pub contents: usize,
    pub width: Length,
    pub height: Length,
    pub left: Length,
    pub right: Length,
    /// The upper edge of what comes next.
    pub y: Length,
    top: Length,
    bottom: Length,
}

impl Sheets {
    #[must_use]
    pub fn new(paper: Paper, look: &PageLook) -> Self {
        let (width, height) = match paper {
            Paper::A4 => (59_528, 84_189),
            Paper::Letter => (61_200, 79_200),
        };
        Self {
            pages: vec![Vec::new()],
            nodes: Vec::new(),
            bookmarks: Vec::new(),
            contents: 0,
            width,
            height,
            left: look.margin_left,
            right: width - look.margin_right,
            y: look.margin_top,
            top: look.margin_top,
            bottom: height - look.margin_bottom,
        }
    }

    /// Returns the width between the margins.
    #[must_use]
    pub fn room(&self) -> Length {
        self.right - self.left
    }

    /// Tells whether the rest of the page has so much height.
    #[must_use]
    pub fn fits(&self, height: Length) -> bool {
        self.y + height <= self.bottom
    }

    /// Begins a page unless the rest of this one has so much height. Returns true if it did.
    pub fn need(&mut self, height: Length) -> bool {
        let breaks = !self.fits(height) && self.y > self.top;
        if breaks {
            self.pages.push(Vec::new());
            self.y = self.top;
        }
        breaks
    }

    /// Adds drawings that mean something, and returns their place in the structure.
    pub fn content(&mut self, drawings: Vec<Drawing>) -> Node {
        let number = self.contents;
        self.contents += 1;
        self.mark(Role::Content(number), drawings);
        Node::Content(number)
    }

    pub fn decoration(&mut self, drawings: Vec<Drawing>) {
        self.mark(Role::Decoration, drawings);
    }

    fn mark(&mut self, role: Role, drawings: Vec<Drawing>) {
        if let Some(page) = self.pages.last_mut() {
            page.push(Mark { role, drawings });
        }
    }

    /// Remembers a heading at the present height.
    pub fn bookmark(&mut self, title: &str) {
        self.bookmarks.push(Bookmark { title: title.to_owned(), page: self.pages.len() - 1, y: self.y });
    }
}

/// Returns the drawings of lines below each other, the first one from `y` on, at the left edge `x`.
#[must_use]
pub fn lines(lines: &[Rc<Shaped>], style: &TextStyle, x: Length, y: Length) -> Vec<Drawing> {
    let mut baseline = y + style.baseline();
    let mut drawings = Vec::with_capacity(lines.len());
    for shaped in lines {
        drawings.push(Drawing::Text { x, baseline, size: style.size, colour: style.colour, shaped: shaped.clone() });
        baseline += style.line;
    }
    drawings
}

/// Returns the drawing of a line that ends at `right`.
#[must_use]
pub fn line_to(right: Length, y: Length, style: &TextStyle, shaped: &Rc<Shaped>) -> Drawing {
    let x = right - shaped.width(style.size);
    Drawing::Text { x, baseline: y + style.baseline(), size: style.size, colour: style.colour, shaped: shaped.clone() }
}

/// Returns the height of so many lines.
#[must_use]
pub fn height(count: usize, style: &TextStyle) -> Length {
    Length::try_from(count).unwrap_or(Length::MAX).saturating_mul(style.line)
}
