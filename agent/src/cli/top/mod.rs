//! `vfiod top`: a live view of this node in a terminal.
//!
//! ```text
//! source ─ News ─┐
//!                ├─> View (what is shown, chosen, sorted) ─> draw (one frame)
//! keys ──────────┘
//! ```

mod draw;
mod keys;
#[cfg(test)]
mod tests;
mod view;

use super::{
    Failure,
    source::{self, News},
    witness::WitnessArgs,
};
use clap::Args;
use keys::Next;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, crossterm::event};
use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use view::{Origin, View};

/// Shows a live view.
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    witness: WitnessArgs,
    /// Write one frame to stdout and end; as large as the terminal, or as COLUMNS and LINES say
    #[arg(long, env = "VFIOD_ONCE")]
    once: bool,
    /// Show only what has all these words, such as "tesla unhealthy"
    #[arg(long, env = "VFIOD_FILTER", value_name = "WORDS", default_value = "")]
    filter: String,
}

/// What happens.
#[derive(Debug)]
enum Input {
    News(News),
    Event(event::Event),
    /// The terminal is gone.
    Ended,
}

/// Frames are drawn at most so often: news that come together are shown together.
const FRAME: Duration = Duration::from_millis(50);
/// A frame is drawn at least so often: times pass.
const IDLE: Duration = Duration::from_secs(1);
/// A frame for a pipe, unless COLUMNS and LINES say otherwise.
const SIZE: (u16, u16) = (120, 40);

/// Shows the view until somebody quits it.
///
/// # Errors
/// When there is no terminal, or there is nothing to show.
pub(super) fn run(args: TopArgs) -> Result<(), Failure> {
    let (told, input) = mpsc::channel();
    let view = View::new(args.filter);
    let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !args.once && !terminal {
        return Err(Failure::Usage(
            "top needs a terminal; `vfiod top --once` writes one frame, `vfiod devices -o json` writes everything, and \
             `vfiod watch` what changes"
                .to_owned(),
        ));
    }
    let news = told.clone();
    source::start(args.witness, move |piece| news.send(Input::News(piece)).is_ok())?;
    if args.once { once(view, &input) } else { live(view, told, &input) }
}

/// One frame, as soon as everything is known.
fn once(mut view: View, input: &mpsc::Receiver<Input>) -> Result<(), Failure> {
    while !view.known.complete {
        match input.recv() {
            Ok(Input::News(News::Failed(failure))) => return Err(failure),
            Ok(Input::News(News::Lost(reason))) => {
                return Err(Failure::Error(format!("vfiod does not answer: {reason}")));
            }
            Ok(Input::News(news)) => view.take(news),
            Ok(Input::Event(_) | Input::Ended) | Err(_) => break,
        }
    }
    if let Origin::Host(notes) = &view.origin {
        for note in notes {
            _ = writeln!(io::stderr(), "{note}");
        }
    }
    let (columns, lines) = size();
    let text = frame(&mut view, columns, lines);
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Error(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// COLUMNS and LINES, the terminal's size, or one that suits a pipe.
fn size() -> (u16, u16) {
    let said = |name: &str| env::var(name).ok().and_then(|value| value.parse().ok()).filter(|&value: &u16| value > 0);
    let terminal = if io::stdout().is_terminal() { ratatui::crossterm::terminal::size().ok() } else { None };
    let (columns, lines) = terminal.unwrap_or(SIZE);
    (said("COLUMNS").unwrap_or(columns), said("LINES").unwrap_or(lines))
}

/// A frame as text, without the blanks at the ends of lines.
fn frame(view: &mut View, columns: u16, lines: u16) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, lines));
    let Ok(drawn) = terminal.draw(|frame| draw::draw(view, frame));
    text(drawn.buffer)
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let lines = buffer.content.chunks(width).map(|line| {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect::<String>().trim_end().to_owned() + "\n"
}

fn live(mut view: View, told: mpsc::Sender<Input>, input: &mpsc::Receiver<Input>) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::Error(format!("the terminal cannot be used: {error}"));
    let mut terminal = ratatui::try_init().map_err(broken)?;
    let keys = thread::Builder::new().name("vfiod-keys".to_owned()).spawn(move || {
        while let Ok(event) = event::read() {
            if told.send(Input::Event(event)).is_err() {
                return;
            }
        }
        let _ = told.send(Input::Ended);
    });
    let ended = keys.map_err(broken).and_then(|_| show(&mut view, &mut terminal, input));
    ratatui::restore();
    ended
}

fn show(
    view: &mut View,
    terminal: &mut ratatui::DefaultTerminal,
    input: &mpsc::Receiver<Input>,
) -> Result<(), Failure> {
    loop {
        let drawn = Instant::now();
        terminal
            .draw(|frame| draw::draw(view, frame))
            .map_err(|error| Failure::Error(format!("the terminal cannot be used: {error}")))?;
        // Something, then whatever else comes within a frame; keys are answered at once.
        let mut wait = IDLE;
        loop {
            match input.recv_timeout(wait) {
                Ok(Input::News(News::Failed(failure))) => return Err(failure),
                Ok(Input::News(news)) => view.take(news),
                Ok(Input::Event(event)) => match keys::pressed(view, &event) {
                    Next::Draw => break,
                    Next::Wait => {}
                    Next::Quit => return Ok(()),
                },
                Ok(Input::Ended) | Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                Err(mpsc::RecvTimeoutError::Timeout) => break,
            }
            wait = FRAME.saturating_sub(drawn.elapsed());
        }
    }
}
