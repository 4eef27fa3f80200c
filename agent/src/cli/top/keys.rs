//! What each key does.

use super::view::{Front, View};
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Show it at once.
    Draw,
    /// Nothing has changed.
    Wait,
    /// End.
    Quit,
}

/// The keys, for people.
pub(super) const KEYS: [(&str, &str); 9] = [
    ("/", "filter: all words must be there; Enter keeps it, Esc clears it"),
    ("↑ ↓ j k", "choose a device; PgUp PgDn g G go further"),
    ("Enter", "all that is known of it; again or Esc closes"),
    ("s", "sort by the next column"),
    ("r", "sort the other way round"),
    ("f", "which devices: all, free, owned, unhealthy, held, held by strangers"),
    ("Esc", "back; in the list it clears the filter"),
    ("?", "these keys"),
    ("q", "quit"),
];

/// Takes what came from the terminal.
pub(super) fn pressed(view: &mut View, event: &Event) -> Next {
    let key = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        Event::Resize(..) => return Next::Draw,
        _ => return Next::Wait,
    };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        return Next::Quit;
    }
    if view.front == Front::Filter {
        return typed(view, key.code, control);
    }
    let (place, page) = (view.place(), view.page);
    let detail = view.front == Front::Detail;
    match key.code {
        KeyCode::Char('q') => return Next::Quit,
        KeyCode::Char('/') => view.front = Front::Filter,
        KeyCode::Char('?') | KeyCode::F(1) => {
            view.front = if view.front == Front::Help { Front::Nothing } else { Front::Help }
        }
        KeyCode::Esc if view.front == Front::Nothing => {
            view.filter_by(String::new());
            view.all_kinds();
        }
        KeyCode::Esc => view.front = Front::Nothing,
        KeyCode::Enter => view.front = if detail { Front::Nothing } else { Front::Detail },
        KeyCode::PageDown if detail => view.scrolled = view.scrolled.saturating_add(5),
        KeyCode::PageUp if detail => view.scrolled = view.scrolled.saturating_sub(5),
        KeyCode::Down | KeyCode::Char('j') => view.choose(place + 1),
        KeyCode::Up | KeyCode::Char('k') => view.choose(place.saturating_sub(1)),
        KeyCode::PageDown | KeyCode::Char(' ') => view.choose(place + page),
        KeyCode::PageUp => view.choose(place.saturating_sub(page)),
        KeyCode::Home | KeyCode::Char('g') => view.choose(0),
        KeyCode::End | KeyCode::Char('G') => view.choose(usize::MAX),
        KeyCode::Char('s') => view.next_column(),
        KeyCode::Char('r') => view.turn(),
        KeyCode::Char('f') => view.next_kind(),
        _ => return Next::Wait,
    }
    Next::Draw
}

/// A key while a filter is typed.
fn typed(view: &mut View, code: KeyCode, control: bool) -> Next {
    let mut filter = view.filter.clone();
    match code {
        KeyCode::Char('u') if control => filter.clear(),
        KeyCode::Char(letter) if !control => filter.push(letter),
        KeyCode::Backspace => _ = filter.pop(),
        KeyCode::Esc => {
            filter.clear();
            view.front = Front::Nothing;
        }
        KeyCode::Enter | KeyCode::Down | KeyCode::Up => view.front = Front::Nothing,
        _ => return Next::Wait,
    }
    view.filter_by(filter);
    view.first = 0;
    Next::Draw
}
