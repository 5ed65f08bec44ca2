//! Splits a master file into entries, and an entry into tokens (RFC 1035 section 5.1).

use crate::zone::{Place, ZoneProblem};

/// One word or quoted text as written: escapes are checked, not resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    /// Without the quotes.
    pub text: &'a str,
    pub quoted: bool,
    /// Follows the token before it without white space, as in `alpn="h2"`.
    pub joined: bool,
    pub place: Place,
}

impl Token<'_> {
    /// The octets that the token stands for.
    pub fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.text.len());
        let mut bytes = self.text.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'\\' {
                octets.push(byte);
                continue;
            }
            match bytes.next() {
                Some(first) if first.is_ascii_digit() => {
                    let digits = [Some(first), bytes.next(), bytes.next()];
                    let value = digits.iter().flatten().fold(0u32, |sum, digit| sum * 10 + u32::from(digit & 15));
                    octets.push(value as u8); // at most 255, checked where the token was read
                }
                Some(other) => octets.push(other),
                None => {}
            }
        }
        octets
    }
}

/// One entry: a directive or a record, over one line or, in parentheses, over several. Never without tokens.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub tokens: Vec<Token<'a>>,
    /// Begins with white space: a record of the owner last named.
    pub indented: bool,
    /// A problem was already reported in it; its tokens may not be all there.
    pub broken: bool,
}

/// Where in the text the reading is.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    rest: &'a str,
    place: Place,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let char = chars.next()?;
        self.rest = chars.as_str();
        if char == '\n' {
            self.place = Place { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(char)
    }

    /// At the end of a line: LF, CR LF, or the end of the text with or without CR.
    fn at_line_end(&self) -> bool {
        let rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        rest.is_empty() || rest.starts_with('\n')
    }

    /// What was read since `start`, an earlier cursor.
    fn since(&self, start: &Cursor<'a>) -> &'a str {
        let len = start.rest.len().saturating_sub(self.rest.len());
        start.rest.get(..len).unwrap_or_default()
    }

    /// At the beginning of a line that looks like the first of an entry.
    fn at_entry_start(&self) -> bool {
        self.place.column == 1
            && self.peek().is_some_and(|char| !matches!(char, ' ' | '\t' | '\r' | '\n' | ';' | ')' | '('))
    }
}

/// The entries of a master file, one after the other, and the problems of form found on the way.
///
/// A parenthesis that is never closed swallows the rest of the file. What is in there shall be checked too, so the
/// reading goes back to the next line that looks like the beginning of an entry, and from then on holds every such
/// line for one while a parenthesis is open (which also keeps the work linear in the length of the file).
pub(super) struct Lexer<'a> {
    cursor: Cursor<'a>,
    pub problems: Vec<ZoneProblem>,
    suspicious: bool,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        let cursor = Cursor { rest, place: Place { line: 1, column: 1 } };
        Lexer { cursor, problems: Vec::new(), suspicious: false }
    }

    fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(ZoneProblem { place, message: message.into() });
    }

    /// Reads one logical line; it may hold no token.
    fn entry(&mut self) -> Entry<'a> {
        let before = self.problems.len();
        let indented = matches!(self.cursor.peek(), Some(' ' | '\t'));
        let mut tokens = Vec::new();
        let mut joined = false;
        let mut open: Vec<Place> = Vec::new();
        let mut resume = None;
        loop {
            let place = self.cursor.place;
            match self.cursor.peek() {
                Some('\n') => {
                    self.cursor.bump();
                    joined = false;
                    let Some(first) = open.first() else { break };
                    if self.cursor.at_entry_start() {
                        resume.get_or_insert((self.cursor, self.problems.len()));
                        if self.suspicious {
                            self.refuse(*first, "this parenthesis is not closed");
                            break;
                        }
                    }
                }
                None => {
                    if let Some(first) = open.first() {
                        if let Some((cursor, problems)) = resume {
                            self.cursor = cursor;
                            self.problems.truncate(problems); // they are found again
                            self.suspicious = true;
                        }
                        self.refuse(*first, "this parenthesis is not closed");
                    }
                    break;
                }
                Some(' ' | '\t') => {
                    self.cursor.bump();
                    joined = false;
                }
                Some('\r') if self.cursor.at_line_end() => {
                    self.cursor.bump();
                }
                Some(';') => self.skip_comment(),
                Some('(') => {
                    self.cursor.bump();
                    open.push(place);
                    joined = false;
                }
                Some(')') => {
                    self.cursor.bump();
                    joined = false;
                    if open.pop().is_none() {
                        self.refuse(place, "no parenthesis is open here");
                    }
                }
                Some(char) => {
                    let text = if char == '"' { self.quoted() } else { self.word() };
                    tokens.push(Token { text, quoted: char == '"', joined, place });
                    joined = true;
                }
            }
        }
        Entry { tokens, indented, broken: self.problems.len() > before }
    }

    fn skip_comment(&mut self) {
        while self.cursor.peek().is_some_and(|char| char != '\n') {
            self.cursor.bump();
        }
    }

    fn word(&mut self) -> &'a str {
        let start = self.cursor;
        while let Some(char) = self.cursor.peek() {
            match char {
                ' ' | '\t' | '\n' | '(' | ')' | ';' | '"' => break,
                '\r' if self.cursor.at_line_end() => break,
                '\\' => self.escape(),
                _ => self.plain(char),
            }
        }
        self.cursor.since(&start)
    }

    fn quoted(&mut self) -> &'a str {
        let quote = self.cursor.place;
        self.cursor.bump();
        let start = self.cursor;
        while let Some(char) = self.cursor.peek().filter(|_| !self.cursor.at_line_end()) {
            match char {
                '"' => {
                    let text = self.cursor.since(&start);
                    self.cursor.bump();
                    return text;
                }
                '\\' => self.escape(),
                '\t' => drop(self.cursor.bump()),
                _ => self.plain(char),
            }
        }
        self.refuse(quote, "this quote is not closed on its line");
        self.cursor.since(&start)
    }

    fn plain(&mut self, char: char) {
        if char.is_control() {
            let place = self.cursor.place;
            self.refuse(place, format!("control character U+{:04X}: write it as \\DDD", u32::from(char)));
        }
        self.cursor.bump();
    }

    /// A backslash and what it escapes: three decimal digits up to 255, or one other character.
    fn escape(&mut self) {
        let place = self.cursor.place;
        self.cursor.bump();
        if self.cursor.at_line_end() {
            return self.refuse(place, "a backslash has nothing to escape at the end of the line");
        }
        let start = self.cursor;
        while self.cursor.since(&start).len() < 3 && self.cursor.peek().is_some_and(|char| char.is_ascii_digit()) {
            self.cursor.bump();
        }
        match self.cursor.since(&start) {
            "" => {
                if let Some(char) = self.cursor.peek() {
                    self.plain(char);
                }
            }
            digits if digits.len() == 3 && digits.parse::<u8>().is_ok() => {}
            digits => self.refuse(place, format!("bad escape `\\{digits}`: three digits up to 255 are needed")),
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        while !self.cursor.rest.is_empty() {
            let entry = self.entry();
            if !entry.tokens.is_empty() {
                return Some(entry);
            }
        }
        None
    }
}
