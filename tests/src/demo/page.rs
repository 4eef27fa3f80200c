//! The demo's words on 80 columns: headings, sentences, quotations, tables. Colour for people at a terminal only.

use anyhow::Result;
use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// The width of a line.
const WIDTH: usize = 79;
/// Before sentences.
const INDENT: usize = 2;
/// Before what is quoted: files, output, tables.
const QUOTED: usize = 4;

const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const CYAN: &str = "\u{1b}[36m";
const GREEN: &str = "\u{1b}[32m";
const PLAIN: &str = "\u{1b}[0m";

/// Where the story is told.
pub struct Page {
    out: Box<dyn Write>,
    terminal: bool,
    colour: bool,
    scene: usize,
    heading: String,
}

/// On which side a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Page {
    /// The process's stdout: coloured where it is a terminal and nobody asked for no colour (<https://no-color.org>).
    pub fn stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stdout().is_terminal() && !dumb;
        let colour = terminal && !set("NO_COLOR");
        Self { terminal, ..Self::over(Box::new(io::stdout()), colour) }
    }

    /// What leads to a page elsewhere.
    pub fn over(out: Box<dyn Write>, colour: bool) -> Self {
        Self { out, terminal: false, colour, scene: 0, heading: "the beginning".to_owned() }
    }

    /// The number and the heading of the scene that is being told.
    pub fn heading(&self) -> String {
        format!("{}, \"{}\"", self.scene, self.heading)
    }

    /// The demo's title, with a line below.
    pub fn title(&mut self, text: &str) -> Result<()> {
        self.line(0, text, BOLD)?;
        self.line(0, &"=".repeat(text.chars().count()), DIM)
    }

    /// Begins the next scene.
    pub fn scene(&mut self, heading: &str) -> Result<()> {
        self.scene += 1;
        self.heading = heading.to_owned();
        self.blank()?;
        let text = format!("{} {heading}", self.scene);
        self.line(0, &text, BOLD)?;
        self.blank()
    }

    /// One or more sentences.
    pub fn say(&mut self, text: &str) -> Result<()> {
        self.flow(INDENT, INDENT, text, "")
    }

    /// A sentence about what has been shown to hold.
    pub fn shown(&mut self, text: &str) -> Result<()> {
        self.flow(INDENT, INDENT, text, GREEN)
    }

    /// A command as a person would type it.
    pub fn command(&mut self, text: &str) -> Result<()> {
        self.flow(QUOTED, QUOTED + 4, &format!("$ {text}"), CYAN)
    }

    /// Text as it is; what is too long goes on in the next line.
    pub fn quote(&mut self, text: &str) -> Result<()> {
        for line in text.lines() {
            let inner = line.len() - line.trim_start().len();
            let indent = QUOTED + inner;
            self.flow(indent, indent + 4, line.trim_start(), "")?;
        }
        Ok(())
    }

    /// Rows under a head, each column as wide as its widest cell.
    pub fn table<const N: usize>(&mut self, sides: [Side; N], head: [&str; N], rows: &[[String; N]]) -> Result<()> {
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
        });
        let lay = |cells: [&str; N]| {
            let columns = cells.into_iter().zip(widths).zip(sides).map(|((cell, width), side)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            columns.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        if head.iter().any(|cell| !cell.is_empty()) {
            self.line(QUOTED, &lay(head), DIM)?;
        }
        for row in rows {
            self.line(QUOTED, &lay(row.each_ref().map(String::as_str)), "")?;
        }
        Ok(())
    }

    /// Lets `pause` pass; at a terminal a clock counts down.
    pub async fn wait(&mut self, pause: Duration) -> Result<()> {
        let end = Instant::now() + pause;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.terminal {
                write!(self.out, "\r{:INDENT$}{} s … ", "", left.as_secs() + 1)?;
                self.out.flush()?;
            }
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        }
        if self.terminal {
            write!(self.out, "\r{:12}\r", "")?;
        }
        Ok(())
    }

    /// An empty line.
    pub fn blank(&mut self) -> Result<()> {
        self.line(0, "", "")
    }

    fn flow(&mut self, first: usize, rest: usize, text: &str, style: &str) -> Result<()> {
        let mut indent = first;
        for line in wrap(text, WIDTH - first, WIDTH - rest) {
            self.line(indent, &line, style)?;
            indent = rest;
        }
        Ok(())
    }

    fn line(&mut self, indent: usize, text: &str, style: &str) -> Result<()> {
        if self.colour && !style.is_empty() && !text.is_empty() {
            writeln!(self.out, "{:indent$}{style}{text}{PLAIN}", "")?;
        } else {
            writeln!(self.out, "{}", format!("{:indent$}{text}", "").trim_end())?;
        }
        Ok(self.out.flush()?)
    }
}

/// Breaks at single blanks; several in a row are kept, as in output that is laid out. A word that is too long stands alone.
fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let (mut lines, mut width) = (Vec::new(), first);
    let mut words = text.split(' ');
    let mut line = words.next().unwrap_or_default().to_owned();
    for word in words {
        if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(std::mem::replace(&mut line, word.to_owned()));
            width = rest;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_on_in_the_next_line_and_none_is_lost() {
        assert_eq!(wrap("one two three four", 9, 7), ["one two", "three", "four"]);
        assert_eq!(wrap("unbreakable x", 5, 5), ["unbreakable", "x"]);
        assert_eq!(wrap("a   laid out", 80, 80), ["a   laid out"]);
        assert_eq!(wrap("", 5, 5), [""]);
    }
}
