//! Just enough of Rust's grammar to see what a file uses: comments and literals are dropped, what is left is words
//! and marks. No parser, so that a rule about the code stays as readable as the code.

/// A word, a `::`, or a single mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

use std::ops::Range;

/// Keywords after which `::` begins a path instead of going on with it.
const BEFORE_A_PATH: &[&str] = &["as", "dyn", "for", "impl", "in", "mut", "return", "use", "where"];

/// A path such as `crate::cost::money::Rate`, as it would be written in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// The words and marks of a file, without comments and literals.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut scanner = Scanner { rest: text, line: 1, tokens: Vec::new() };
    while scanner.step() {}
    scanner.tokens
}

/// The same without the items under `#[cfg(test)]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let tests = test_items(tokens);
    let kept = (0..tokens.len()).filter(|at| !tests.iter().any(|test| test.contains(at)));
    kept.map(|at| tokens[at].clone()).collect()
}

/// How many lines a file has outside of its items under `#[cfg(test)]`.
pub(crate) fn lines_without_tests(text: &str) -> usize {
    let tokens = tokens(text);
    let lines = |test: &Range<usize>| tokens[test.end - 1].line - tokens[test.start].line + 1;
    text.lines().count() - test_items(&tokens).iter().map(lines).sum::<usize>()
}

/// Where the items under `#[cfg(test)]` are, attribute included.
fn test_items(tokens: &[Token]) -> Vec<Range<usize>> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in 0..tokens.len() {
        let inside_another = found.last().is_some_and(|test| test.contains(&at));
        if !inside_another && begins_with(&tokens[at..], &attribute) {
            found.push(at..item_end(tokens, at + attribute.len()));
        }
    }
    found
}

/// Every path that the tokens name; the groups of `use` are written out.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let imported = at > 0 && tokens[at - 1].text == "use";
        let qualified = tokens.get(at + 1).is_some_and(|next| next.text == "::");
        let starts = is_word(&tokens[at].text) && !BEFORE_A_PATH.contains(&tokens[at].text.as_str());
        let starts = starts && (imported || qualified);
        at = if starts { path(tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads one path that begins at `at`, and says where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Path>) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens[at].line;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => return group(tokens, at + 1, &segments, found),
            // `use money::{self}` names `money`.
            "self" if !prefix.is_empty() => {}
            "*" => {}
            word if is_word(word) => segments.push(word.to_owned()),
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    found.push(Path { segments, line });
    at
}

/// Reads the paths of a `{…}` whose first token is at `at`.
fn group(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Path>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            "," => at += 1,
            // The new name of an import says nothing.
            "as" => at += 2,
            text if is_word(text) || text == "*" || text == "{" => at = path(tokens, at, prefix, found),
            _ => at += 1,
        }
    }
    at
}

/// Where the item that begins at `at` ends: after its block, or after its semicolon.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    return at;
                }
            }
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

/// Whether the tokens begin with these texts.
pub(crate) fn begins_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

// === impl Scanner ===

impl Scanner<'_> {
    /// Reads one token, comment, literal or blank; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        let word = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        match first {
            '/' if self.rest.starts_with("//") => self.skip(self.rest.find('\n').unwrap_or(self.rest.len())),
            '/' if self.rest.starts_with("/*") => self.skip(block_comment(self.rest)),
            '"' => self.skip(quoted(self.rest, '"')),
            '\'' => self.skip(character_or_lifetime(self.rest)),
            _ if word > 0 => match literal(self.rest, word) {
                Some(length) => self.skip(length),
                None => self.token(word),
            },
            ':' if self.rest.starts_with("::") => self.token(2),
            _ if first.is_whitespace() => self.skip(first.len_utf8()),
            _ => self.token(first.len_utf8()),
        }
        true
    }

    fn token(&mut self, length: usize) {
        self.tokens.push(Token { text: self.rest[..length].to_owned(), line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

/// The length of the string literal whose prefix is the word (`b"…"`, `r#"…"#`), if it is one.
fn literal(text: &str, word: usize) -> Option<usize> {
    let (prefix, rest) = text.split_at(word);
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let quote = rest[hashes..].starts_with('"');
    match prefix {
        "r" | "br" | "cr" if quote => {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = word + hashes + 1;
            Some(text[body..].find(&end).map_or(text.len(), |at| body + at + end.len()))
        }
        "b" | "c" if quote && hashes == 0 => Some(word + quoted(rest, '"')),
        "b" if rest.starts_with('\'') => Some(word + quoted(rest, '\'')),
        _ => None,
    }
}

/// The length of what stands between two quotes, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The length of `'c'`, or of the mark of a lifetime.
fn character_or_lifetime(text: &str) -> usize {
    let mut after = text.chars().skip(1);
    match (after.next(), after.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(text, '\''),
        _ => 1,
    }
}

/// The length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        tokens(text).iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_say_nothing() {
        for (text, expected) in [
            ("a // use b;\nc", "a c"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"a("use b::c; \" d", 'e', '\'', b'f', b"g")"#, "a ( , , , , )"),
            (r###"a(r#"b " c"#, r"d\", br##"e"##)"###, "a ( , , )"),
            ("fn a<'b>(c: &'b str)", "fn a < b > ( c : & b str )"),
            ("'[' ]", "]"),
            ("a::b", "a :: b"),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn a_use_is_written_out() {
        for (text, expected) in [
            ("use a::b;", "a::b"),
            ("use a;", "a"),
            ("use a as b;", "a"),
            ("pub(crate) use a::{b, c::{self, d as e}, f::*};", "a::b a::c a::c::d a::f"),
            ("fn a() -> b::C<d::E> { f::g::<h::I>(); crate::j() }", "b::C d::E f::g h::I crate::j"),
            ("#[derive(a::B)] struct C;", "a::B"),
            ("use ::a::b;", "a::b"),
        ] {
            let found: Vec<_> = paths(&tokens(text)).iter().map(|path| path.segments.join("::")).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn tests_are_left_out() {
        let text = "a\n#[cfg(test)]\n#[x({})]\nmod tests {\n  b { c }\n}\n#[cfg(test)] use d;\ne\n";
        let kept: Vec<_> = without_tests(&tokens(text)).iter().map(|token| token.text.clone()).collect();
        assert_eq!(kept, ["a", "e"]);
        assert_eq!(lines_without_tests(text), 2);
    }
}
