//! README.md taken apart: its fenced blocks, the marked parts, its inline code and links.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands after the fence: `sh`, `toml`, …
    pub language: String,
    pub text: String,
}

pub struct Readme {
    text: String,
}

impl Readme {
    pub fn read() -> Readme {
        Readme { text: fs::read_to_string(root().join("README.md")).expect("README.md can be read") }
    }

    /// Every block, in order.
    pub fn blocks(&self) -> Vec<Block> {
        blocks(&self.text).0
    }

    /// The blocks between `<!-- test: NAME -->` and `<!-- end -->`.
    #[track_caller]
    pub fn marked(&self, name: &str) -> Vec<Block> {
        let begin = format!("<!-- test: {name} -->");
        let (_, rest) = self.text.split_once(&begin).unwrap_or_else(|| panic!("README.md: there is no {begin}"));
        let (part, _) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("README.md: {begin} has no end"));
        blocks(part).0
    }

    /// Everything between single backquotes outside of blocks.
    pub fn inline_code(&self) -> Vec<String> {
        let prose = blocks(&self.text).1;
        prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The targets of links.
    pub fn links(&self) -> Vec<String> {
        let targets = self.text.split("](").skip(1);
        targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
    }

    /// Lines of `sh` blocks without comments, and inline code: where commands are.
    pub fn commands(&self) -> Vec<String> {
        let blocks = self.blocks().into_iter().filter(|block| block.language == "sh");
        let lines: Vec<String> = blocks.flat_map(|block| block.joined_lines()).collect();
        let code = lines.into_iter().chain(self.inline_code());
        code.map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned()).collect()
    }

    /// The headings in the form that links to them have.
    pub fn anchors(&self) -> Vec<String> {
        let prose = blocks(&self.text).1;
        let headings = prose.lines().filter_map(|line| line.strip_prefix("#"));
        headings.map(|heading| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-")).collect()
    }
}

impl Block {
    /// Lines, with those put together that a backslash continues.
    fn joined_lines(&self) -> Vec<String> {
        self.text.replace("\\\n", " ").lines().map(str::to_owned).collect()
    }
}

/// The blocks, and the text without them.
fn blocks(text: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some(Block { language: language.trim().into(), text: String::new() }),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text += &format!("{line}\n");
                open = Some(block);
            }
            (None, None) => prose += &format!("{line}\n"),
        }
    }
    assert_eq!(open, None, "a block has no end");
    (blocks, prose)
}

/// The files of a folder of the project with this ending.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let found: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    assert!(!found.is_empty(), "{folder} has no .{ending} file");
    found
}

/// Whether a line is the one shown: `…` stands for anything, white space for any other.
pub fn is_shown(shown: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (shown, line) = (words(shown), words(line));
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn shown_lines_are_compared_with_gaps() {
    assert!(is_shown("a  b", "a b") && is_shown("a…c…e", "abcde") && is_shown("…", "") && is_shown("…b", "ab"));
    assert!(!is_shown("a", "ab") && !is_shown("a…c", "abcd") && !is_shown("b…", "ab") && !is_shown("a…x…e", "abe"));
}
