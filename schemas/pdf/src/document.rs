//! The contents of a report: text and figures, nothing about their look.

/// A report. The same document gives the same bytes.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub title: String,
    pub subtitle: String,
    /// Account, period and the like, as label and value.
    pub facts: Vec<(String, String)>,
    pub paper: Paper,
    /// BCP 47, such as `en`; an empty one is `en`.
    pub language: String,
    /// Stands on each page, such as "Up to event … at …".
    pub footer: String,
    /// The date in the document's properties, in microseconds since 1970 (UTC): the time of the last thing it covers, not of the call.
    pub created_us: i64,
    pub sections: Vec<Section>,
}

/// The size of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Paper {
    #[default]
    A4,
    Letter,
}

#[derive(Debug, Clone)]
pub enum Section {
    Totals(Vec<Total>),
    Chart(Chart),
    Table(Table),
    /// Paragraphs, one for each line.
    Text(String),
}

/// A figure that stands out.
#[derive(Debug, Clone, Default)]
pub struct Total {
    pub label: String,
    pub value: String,
    /// A line below the value; may be empty.
    pub note: String,
}

/// Stacked bars over time.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    pub title: String,
    /// The unit of the axis, such as `USD`.
    pub unit: String,
    /// The values are integers with so many decimals: 9 for nano-USD, 0 for counts.
    pub decimals: u32,
    /// One for each bar.
    pub labels: Vec<String>,
    pub series: Vec<Series>,
}

#[derive(Debug, Clone, Default)]
pub struct Series {
    pub name: String,
    pub values: Vec<i64>,
}

#[derive(Debug, Clone, Default)]
pub struct Table {
    pub title: String,
    pub columns: Vec<Column>,
    /// Cells by row. Cells that a row lacks are empty.
    pub rows: Vec<Vec<String>>,
    pub total: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default)]
pub struct Column {
    pub title: String,
    pub align: Align,
    /// The share of the room; figures (`Align::Right`) get the room that they need first.
    pub weight: u32,
}

/// The side of a cell on which its text stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Align {
    #[default]
    Left,
    /// Figures.
    Right,
}
