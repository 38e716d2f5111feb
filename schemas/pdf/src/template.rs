//! The look of a report, read from `template.toml`.

use std::sync::OnceLock;

use serde::{Deserialize, Deserializer};

use crate::PdfError;

/// A length in hundredths of a point.
pub type Length = i32;

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let [_, red, green, blue] = value.ok_or_else(|| serde::de::Error::custom("a colour is #rrggbb"))?.to_be_bytes();
        Ok(Self(red, green, blue))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    pub page: PageLook,
    pub facts: FactsLook,
    pub totals: TotalsLook,
    pub chart: ChartLook,
    pub table: TableLook,
    pub text: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageLook {
    pub margin_left: Length,
    pub margin_right: Length,
    pub margin_top: Length,
    pub margin_bottom: Length,
    pub footer_rise: Length,
    pub section_gap: Length,
    pub rule: Length,
    pub rule_colour: Colour,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactsLook {
    pub label_width: Length,
    pub gap_before: Length,
    pub gap_after: Length,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotalsLook {
    pub per_row: usize,
    pub gap: Length,
    pub padding: Length,
    pub background: Colour,
    pub accent: Colour,
    pub accent_width: Length,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChartLook {
    pub plot_height: Length,
    pub axis_gap: Length,
    pub ticks: i32,
    pub bar_share: Length,
    pub bar_width_max: Length,
    pub label_gap: Length,
    pub grid_colour: Colour,
    pub base_colour: Colour,
    pub colours: Vec<Colour>,
    pub legend_box: Length,
    pub legend_gap: Length,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableLook {
    pub padding_x: Length,
    pub padding_y: Length,
    pub lines_max: usize,
    pub short_text: Length,
    pub head_background: Colour,
    pub stripe: Colour,
    pub figures_share_max: Length,
    pub total_rule: Length,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    pub title: TextStyle,
    pub subtitle: TextStyle,
    pub heading: TextStyle,
    pub body: TextStyle,
    pub label: TextStyle,
    pub value: TextStyle,
    pub cell: TextStyle,
    pub head: TextStyle,
    pub total: TextStyle,
    pub axis: TextStyle,
    pub footer: TextStyle,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextStyle {
    pub size: Length,
    /// The height of a line.
    pub line: Length,
    #[serde(default)]
    pub bold: bool,
    pub colour: Colour,
}

impl TextStyle {
    /// Returns the way from the top of a line to the baseline, such that capitals (0.714 of the size) stand in the middle.
    #[must_use]
    pub fn baseline(&self) -> Length {
        Length::midpoint(self.line, self.size * 714 / 1_000)
    }
}

/// Returns the template of the program.
pub fn template() -> Result<&'static Template, PdfError> {
    static TEMPLATE: OnceLock<Result<Template, toml::de::Error>> = OnceLock::new();
    TEMPLATE
        .get_or_init(|| toml::from_str(include_str!("../template.toml")))
        .as_ref()
        .map_err(|error| PdfError::Template(error.to_string()))
}
