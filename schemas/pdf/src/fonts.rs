//! Fonts: the embedded ones, and one for Chinese, Japanese and Korean that the machine may have.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use harfrust::ShaperData;
use krilla::text::Font;
use skrifa::{FontRef, MetadataProvider};

const REGULAR: &[u8] = include_bytes!("../fonts/NotoSans-Regular.ttf");
const BOLD: &[u8] = include_bytes!("../fonts/NotoSans-Bold.ttf");
const HEBREW: &[u8] = include_bytes!("../fonts/NotoSansHebrew-Regular.ttf");
const ARABIC: &[u8] = include_bytes!("../fonts/NotoSansArabic-Regular.ttf");
/// The usual folders of fonts.
const FOLDERS: [&str; 6] =
    ["/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts", "C:\\Windows\\Fonts", "/app/fonts"];
/// Beginnings of the file names of fonts with Chinese, Japanese and Korean characters, best first, in lower case.
const CJK_NAMES: [&str; 10] = [
    "notosanscjk-regular",
    "notosanscjk",
    "sourcehansans",
    "notosanssc",
    "notosansjp",
    "notosanskr",
    "wqy-",
    "droidsansfallback",
    "pingfang",
    "msyh",
];
const FOLDER_DEPTH_MAX: usize = 4;
const FILES_MAX: usize = 20_000;
const FONT_BYTES_MAX: u64 = 64 << 20;

/// One font file, ready for shaping and for drawing.
pub struct Face {
    pub font: Font,
    pub shaper: ShaperData,
    pub units_per_em: i64,
    bytes: Arc<Vec<u8>>,
}

impl Face {
    fn new(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Arc::new(bytes);
        let font = Font::new(bytes.clone().into(), 0)?;
        let file = FontRef::from_index(&bytes, 0).ok()?;
        let (shaper, units_per_em) = (
            ShaperData::new(&file),
            i64::from(file.metrics(skrifa::instance::Size::unscaled(), skrifa::instance::LocationRef::default()).units_per_em),
        );
        Some(Self { font, shaper, units_per_em, bytes })
    }

    /// Returns the tables of the file.
    #[must_use]
    pub fn tables(&self) -> Option<FontRef<'_>> {
        FontRef::from_index(&self.bytes, 0).ok()
    }

    fn glyph(&self, character: char) -> Option<u32> {
        self.tables()?.charmap().map(character).map(harfrust::GlyphId::to_u32).filter(|glyph| *glyph != 0)
    }

    #[must_use]
    pub fn has(&self, character: char) -> bool {
        self.glyph(character).is_some()
    }
}

/// The fonts of a report, tried in order for each character.
pub struct Fonts {
    regular: Vec<Face>,
    bold: Vec<Face>,
    /// Loaded at the first character that the embedded fonts lack; `None` if it shall not be searched for.
    installed: Option<OnceLock<Option<Face>>>,
}

impl Fonts {
    /// Returns the embedded fonts. With them, a document has the same bytes on each machine.
    #[must_use]
    pub fn embedded() -> &'static Self {
        static FONTS: OnceLock<Fonts> = OnceLock::new();
        FONTS.get_or_init(|| Self::with(None))
    }

    /// Returns the embedded fonts, followed by a font for Chinese, Japanese and Korean if the machine has one.
    #[must_use]
    pub fn installed() -> &'static Self {
        static FONTS: OnceLock<Fonts> = OnceLock::new();
        FONTS.get_or_init(|| Self::with(Some(OnceLock::new())))
    }

    fn with(installed: Option<OnceLock<Option<Face>>>) -> Self {
        let faces = |files: [&[u8]; 3]| files.into_iter().filter_map(|bytes| Face::new(bytes.to_vec())).collect();
        Self { regular: faces([REGULAR, HEBREW, ARABIC]), bold: faces([BOLD, HEBREW, ARABIC]), installed }
    }

    /// Returns the number of the font for a character: `current` if it has it, else the first that has it.
    #[must_use]
    pub fn find(&self, character: char, bold: bool, current: Option<usize>) -> Option<usize> {
        let has = |place: usize| self.face(place, bold).is_some_and(|face| face.has(character));
        if let Some(place) = current.filter(|place| !character.is_alphabetic() && has(*place)) {
            return Some(place);
        }
        (0..=self.regular.len()).find(|place| has(*place))
    }

    /// Returns a font by number. The one behind the embedded fonts is the installed one.
    #[must_use]
    pub fn face(&self, place: usize, bold: bool) -> Option<&Face> {
        let embedded = if bold { &self.bold } else { &self.regular };
        match embedded.get(place) {
            Some(face) => Some(face),
            None => self.installed.as_ref()?.get_or_init(load_installed).as_ref(),
        }
    }
}

/// Reads the best font for Chinese, Japanese and Korean; the ways are sorted, so that the choice does not depend on the file system.
fn load_installed() -> Option<Face> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(Path::new(folder), FOLDER_DEPTH_MAX, &mut files);
    }
    let mut ranked: Vec<(usize, PathBuf)> = files.into_iter().filter_map(|path| Some((rank(&path)?, path))).collect();
    ranked.sort();
    ranked.into_iter().filter_map(|(_, path)| Face::new(std::fs::read(path).ok()?)).find(|face| face.has('中'))
}

fn rank(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let is_font = [".ttf", ".otf", ".ttc"].iter().any(|ending| name.ends_with(ending));
    CJK_NAMES.iter().position(|beginning| is_font && name.starts_with(beginning))
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, files);
        } else if files.len() < FILES_MAX && entry.metadata().is_ok_and(|data| data.len() <= FONT_BYTES_MAX) {
            files.push(path);
        }
    }
}
