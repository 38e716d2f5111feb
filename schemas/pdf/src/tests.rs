//! Reports as a whole: the same bytes twice, and everything is on its pages.

use std::collections::BTreeSet;
use std::process::Command;
use std::rc::Rc;

use crate::chart::{Axis, number};
use crate::flow::lay_out;
use crate::sheet::{Drawing, Mark, Role, Sheets};
use crate::table::share;
use crate::template::template;
use crate::text::{Shaped, Typesetter};
use crate::*;

fn column(title: &str, align: Align) -> Column {
    Column { title: title.to_owned(), align, weight: 1 }
}

fn report(rows: usize) -> Document {
    let names = ["alpha", "=1+1", "Привет", "שלום", "مرحبا", "東京", "\u{e000}"];
    let row = |row: usize| vec![format!("row{row}"), names[row % names.len()].to_owned(), format!("{row}.000000001")];
    Document {
        title: "Report".to_owned(),
        facts: vec![("Account".to_owned(), "acct_1".to_owned())],
        footer: "Up to event 7".to_owned(),
        created_us: 1_790_000_000_000_000,
        sections: vec![
            Section::Totals(vec![Total { label: "Cost".to_owned(), value: "12.5".to_owned(), note: "USD".to_owned() }]),
            Section::Chart(Chart {
                title: "Cost".to_owned(),
                unit: "USD".to_owned(),
                decimals: 9,
                labels: (1..=31).map(|day| format!("10-{day:02}")).collect(),
                series: vec![Series { name: "All".to_owned(), values: (0..31).map(|day| day * 1_000_000_000).collect() }],
            }),
            Section::Table(Table {
                title: "Rows".to_owned(),
                columns: vec![column("Row", Align::Left), column("Name", Align::Left), column("USD", Align::Right)],
                rows: (0..rows).map(row).collect(),
                total: Some(vec!["Total".to_owned(), String::new(), "9.9".to_owned()]),
            }),
        ],
        ..Document::default()
    }
}

/// Returns the texts of a page from its marks.
fn texts(page: &[Mark]) -> Vec<String> {
    let drawings = page.iter().flat_map(|mark| &mark.drawings);
    drawings.filter_map(|drawing| if let Drawing::Text { shaped, .. } = drawing { Some(shaped.text.clone()) } else { None }).collect()
}

fn laid_out(document: &Document) -> Sheets {
    lay_out(document, Fonts::embedded()).expect("pages")
}

#[test]
fn the_same_document_has_the_same_bytes() {
    let first = render_with(&report(40), Fonts::embedded()).expect("a report");
    assert!(first.starts_with(b"%PDF-1.7"));
    assert_eq!(first, render_with(&report(40), Fonts::embedded()).expect("a report"));
    assert_ne!(first, render_with(&report(41), Fonts::embedded()).expect("a report"));
}

#[test]
fn a_name_that_standards_refuse_costs_only_their_mark() {
    let with = |name: &str| {
        let bytes = render_with(&Document { title: name.to_owned(), ..Document::default() }, Fonts::embedded()).expect("a report");
        String::from_utf8_lossy(&bytes).contains("pdfuaid:part")
    };
    assert!(with("plain"));
    let odd = Document { title: "a\u{0}b\u{feff}\u{e000}\u{10ffff}\n\u{202e}c".to_owned(), ..Document::default() };
    assert!(render_with(&odd, Fonts::embedded()).is_ok());
}

#[test]
fn each_row_is_there_once_and_each_page_has_head_and_footer() {
    let sheets = laid_out(&report(300));
    let count = sheets.pages.len();
    assert!(count > 4, "{count} pages");
    for (number, page) in sheets.pages.iter().enumerate() {
        let texts = texts(page);
        assert!(texts.contains(&format!("Page {} of {count}", number + 1)), "page {number}");
        assert!(texts.contains(&"Up to event 7".to_owned()));
        let head = texts.iter().position(|text| text == "USD");
        let has_rows = texts.iter().any(|text| text.starts_with("row"));
        assert!(!has_rows || head.is_some(), "page {number} has rows without a head");
    }
    let all: Vec<String> = sheets.pages.iter().flat_map(|page| texts(page)).filter(|text| text.starts_with("row")).collect();
    assert_eq!(all, (0..300).map(|row| format!("row{row}")).collect::<Vec<_>>());
}

#[test]
fn nothing_leaves_the_page_and_no_two_texts_overlap() {
    let mut document = report(60);
    let long = "name ".repeat(60);
    if let Some(Section::Table(table)) = document.sections.last_mut() {
        table.rows.push(vec!["y".repeat(200), long.clone(), "123456789.123456789".to_owned()]);
        table.rows.push(vec![long.clone(), "z".repeat(400), String::new()]);
    }
    document.title = long.clone();
    document.footer = long.clone();
    document.facts.push((long.clone(), long));
    let sheets = laid_out(&document);
    for (number, page) in sheets.pages.iter().enumerate() {
        let mut spans = Vec::new();
        for drawing in page.iter().flat_map(|mark| &mark.drawings) {
            if let Drawing::Text { x, baseline, size, shaped, .. } = drawing {
                let right = x + shaped.width(*size);
                assert!(*x >= sheets.left && right <= sheets.right + 1, "page {number}: {:?} at {x} to {right}", shaped.text);
                assert!(*baseline < sheets.height);
                spans.push((*baseline, *x, right, shaped.text.clone()));
            }
        }
        spans.sort();
        for pair in spans.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            assert!(pair[0].2 <= pair[1].1, "page {number}: {:?} runs into {:?}", pair[0].3, pair[1].3);
        }
    }
}

#[test]
fn a_total_is_never_alone_on_a_page() {
    for rows in 20..120 {
        let sheets = laid_out(&report(rows));
        let page = texts(sheets.pages.iter().rev().find(|page| texts(page).contains(&"Total".to_owned())).expect("a total"));
        assert!(page.contains(&format!("row{}", rows - 1)), "{rows} rows");
    }
}

#[test]
fn contents_are_numbered_once() {
    let sheets = laid_out(&report(50));
    let roles = sheets.pages.iter().flatten().map(|mark| mark.role);
    let numbers: Vec<usize> = roles.filter_map(|role| if let Role::Content(number) = role { Some(number) } else { None }).collect();
    assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>().len(), numbers.len());
    assert_eq!(numbers.len(), sheets.contents);
}

#[test]
fn lines_are_no_wider_than_their_room() {
    let mut type_ = Typesetter::new(Fonts::embedded());
    let style = template().expect("a template").text.cell;
    for text in [
        "one two three four five six seven",
        "anthropic/claude-sonnet-4.5-20260101",
        &"w".repeat(90),
        "Привет мир, это отчёт",
        "שלום עולם זה דוח",
    ] {
        for width in [1_500, 3_000, 6_000, 9_000] {
            let lines = type_.wrap(text, &style, width, 99);
            assert!(lines.iter().all(|line| line.width(style.size) <= width), "{text} in {width}");
            let kept: String = lines.iter().map(|line| line.text.replace(' ', "")).collect();
            assert_eq!(kept, text.replace(' ', ""));
        }
    }
    let texts = |lines: Vec<Rc<Shaped>>| lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
    let number = "10,495,432,037 prompt, 2,000,000,000 completion";
    for width in (6_500..12_000).step_by(100) {
        let lines = texts(type_.wrap(number, &style, width, 9));
        assert!(lines.iter().any(|line| line.contains("2,000,000,000")), "{width}: {lines:?}");
    }
    let cut = type_.wrap("one two three four five six seven", &style, 2_500, 2);
    assert_eq!(cut.len(), 2);
    assert!(cut[1].text.ends_with('…') && cut[1].width(style.size) <= 2_500, "{}", cut[1].text);
}

#[test]
fn right_to_left_text_stands_in_its_order() {
    let mut type_ = Typesetter::new(Fonts::embedded());
    let line = type_.line("ab שלום", false);
    let last = line.runs.last().expect("a run");
    let starts: Vec<usize> = last.glyphs.iter().map(|glyph| glyph.text_range.start).collect();
    assert!(starts.windows(2).all(|pair| pair[0] > pair[1]), "{starts:?}");
}

#[test]
fn axes_have_round_ticks() {
    assert_eq!(Axis::new(0, 97, 4), Axis { lowest: 0, highest: 100, step: 50 });
    assert_eq!(Axis::new(0, 0, 4), Axis { lowest: 0, highest: 1, step: 1 });
    assert_eq!(Axis::new(-30, 45, 4), Axis { lowest: -40, highest: 60, step: 20 });
    assert_eq!(Axis::new(0, 1, 4), Axis { lowest: 0, highest: 1, step: 1 });
    let most = i128::from(i64::MAX);
    assert!(Axis::new(-most, most, 4).highest >= most);
}

#[test]
fn numbers_are_exact() {
    assert_eq!(number(1_234_567_500_000_000, 9), "1,234,567.5");
    assert_eq!(number(-1, 9), "−0.000000001");
    assert_eq!(number(0, 9), "0");
    assert_eq!(number(1_000, 0), "1,000");
}

#[test]
fn shares_leave_no_rest() {
    assert_eq!(share(100, &[1, 1, 1]).iter().sum::<i32>(), 100);
    assert_eq!(share(100, &[]), Vec::<i32>::new());
    assert_eq!(share(100, &[0, 3, 1]), [0, 75, 25]);
}

#[test]
fn charts_of_every_size_are_drawn() {
    for bars in [0, 1, 2, 366] {
        for value in [0, 1, i64::MAX, -5] {
            let labels = (0..bars).map(|bar| format!("day {bar}")).collect();
            let series = vec![Series { name: "n".repeat(200), values: vec![value; bars] }, Series::default()];
            let chart = Chart { title: "t".repeat(300), unit: "USD".to_owned(), decimals: 9, labels, series };
            let sheets = laid_out(&Document { sections: vec![Section::Chart(chart)], ..Document::default() });
            assert_eq!(sheets.pages.len(), 1);
        }
    }
}

#[test]
fn other_programs_read_the_report() {
    let folder = std::env::temp_dir().join(format!("arouter-pdf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("report.pdf");
    std::fs::write(&path, render_with(&report(120), Fonts::embedded()).expect("a report")).expect("a file");
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&path).args((program == "pdftotext").then_some("-")).output();
        if output.is_err() {
            eprintln!("{program} is not installed: this part of the test is skipped");
        }
        output.ok()
    };
    if let Some(output) = run("qpdf", &["--check"]) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    if let Some(output) = run("pdftotext", &["-layout"]) {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let places: Vec<_> = ["Report", "Account", "Cost", "row0", "Привет", "row119", "Total"].map(|word| text.find(word)).into();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
    }
    std::fs::remove_dir_all(&folder).expect("a folder");
}
