//! Frames of views, as a terminal would show them.

use super::{
    frame,
    keys::{Next, pressed},
    view::{Front, View},
};
use crate::cli::{
    known::tests::{all, row},
    source::News,
};
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use vfiod_proto::status::{Holder, Owner, PartState, ResourceState, Row, Summary, Totals, Update};

fn press(view: &mut View, keys: &str) -> Next {
    let mut next = Next::Wait;
    for letter in keys.chars() {
        let code = match letter {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            letter => KeyCode::Char(letter),
        };
        next = pressed(view, &Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
    next
}

fn held(pid: u32, command: &str, relation: &str) -> Holder {
    Holder { pid, command: command.into(), relation: relation.into(), ..Holder::default() }
}

/// A free, an owned, and a stranger's device.
fn three() -> Vec<Row> {
    let mut owned = row("nvidia.com/T4", "0000:5e:00.0", "Healthy", "Owned");
    owned.owner = Some(Owner {
        namespace: Some("vms".into()),
        pod: Some("render".into()),
        container: "compute".into(),
        ..Owner::default()
    });
    owned.holders = vec![held(812, "qemu-system-x86", "own")];
    let mut strange = row("intel.com/qat", "0001:01:00.0", "Unhealthy", "Held");
    strange.holders = vec![held(4711, "dpdk-testpmd", "foreign")];
    strange.next_step = Some("end process 4711".into());
    vec![row("nvidia.com/T4", "0000:3b:00.0", "Healthy", "Ready"), owned, strange]
}

fn of_daemon(rows: Vec<Row>) -> View {
    let mut view = View::new(String::new());
    view.take(News::Daemon);
    let part = |part: &str, condition: &str, text: &str| PartState {
        part: part.into(),
        condition: condition.into(),
        text: text.into(),
    };
    let summary = Summary {
        ready: true,
        parts: vec![part("host", "good", ""), part("probe", "degraded", "no capabilities")],
        resources: vec![
            ResourceState { name: "intel.com/qat".into(), devices: 1, registered: true, ..Default::default() },
            ResourceState { name: "nvidia.com/T4".into(), devices: 2, healthy: 2, owned: 1, ..Default::default() },
        ],
        totals: Some(Totals::default()),
        ..Summary::default()
    };
    view.take(News::Update(Box::new(Update { summary: Some(summary), ..all(rows) })));
    view
}

#[test]
fn a_usual_terminal_shows_who_has_what() {
    let text = frame(&mut of_daemon(three()), 80, 24);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("vfiod  ready  3 devices, 1 unhealthy, 1 owned, 1 held by strangers"), "{text}");
    assert_eq!(lines[1], "probe degraded: no capabilities");
    assert!(lines[2].contains("intel.com/qat") && lines[2].contains("1 unhealthy of 1"), "{text}");
    assert!(lines[3].contains("1 free 1 owned of 2 not registered"), "{text}");
    assert!(
        lines[5].starts_with("0001:01:00.0") && lines[5].contains("dpdk-testpmd"),
        "what is wrong stands first: {text}"
    );
    assert!(text.contains("vms/render") && text.contains("? keys"), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
}

#[test]
fn a_filter_shows_what_has_all_its_words() {
    let mut view = of_daemon(three());
    press(&mut view, "/qemu ren");
    let text = frame(&mut view, 80, 24);
    assert!(text.contains("0000:5e:00.0") && !text.contains("0000:3b:00.0"), "{text}");
    assert!(text.contains("/qemu ren"), "{text}");
    assert_eq!(press(&mut view, "q"), Next::Draw, "it is a letter while a filter is typed");
    assert!(frame(&mut view, 80, 24).contains("No device matches"));
    press(&mut view, "\x1b");
    assert!(frame(&mut view, 80, 24).contains("0000:3b:00.0"));
    press(&mut view, "fff");
    let text = frame(&mut view, 80, 24);
    assert!(text.contains("unhealthy") && text.contains("1 of 3"), "{text}");
    assert_eq!(press(&mut view, "q"), Next::Quit);
}

#[test]
fn the_detail_says_everything_of_the_chosen_device() {
    let mut view = of_daemon(three());
    press(&mut view, "\n");
    let text = frame(&mut view, 100, 40);
    for said in ["process 4711 (dpdk-testpmd)", "a stranger", "end process 4711", "vfiod explain 0001:01:00.0"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    press(&mut view, "j");
    assert!(frame(&mut view, 100, 40).contains("vfiod explain 0000:3b:00.0"), "the next one");
    press(&mut view, "\x1b");
    assert_eq!(view.front, Front::Nothing);
}

#[test]
fn the_chosen_device_stays_chosen_when_the_order_changes() {
    let mut view = of_daemon(three());
    press(&mut view, "G");
    let chosen = view.row().unwrap();
    press(&mut view, "ss");
    assert_eq!(view.row(), Some(chosen.clone()));
    let gone = vfiod_proto::status::RowName { resource: chosen.resource, device: chosen.device };
    view.take(News::Update(Box::new(Update { gone: vec![gone], ..Update::default() })));
    assert!(view.row().is_some(), "another one takes its place");
}

#[test]
fn thousands_of_devices_can_be_walked_through() {
    let rows = (0..5000).map(|number| row("a.com/gpu", &format!("{number:04x}:01:00.0"), "Healthy", "Ready"));
    let mut view = of_daemon(rows.collect());
    frame(&mut view, 80, 24);
    press(&mut view, "G");
    let text = frame(&mut view, 80, 24);
    assert!(text.contains("1387:01:00.0"), "{text}");
    press(&mut view, "k ");
    press(&mut view, "g");
    assert!(frame(&mut view, 80, 24).contains("0000:01:00.0"));
}

#[test]
fn no_size_is_too_small() {
    for (columns, lines) in [(1, 1), (2, 3), (10, 2), (20, 5), (28, 8), (40, 12), (300, 3), (5, 80)] {
        for keys in ["", "\n", "?", "/x", "G"] {
            let mut view = of_daemon(three());
            press(&mut view, keys);
            frame(&mut view, columns, lines);
        }
    }
    assert!(frame(&mut of_daemon(three()), 20, 5).contains("0001:01:00.0"), "the list remains");
}

#[test]
fn a_daemon_that_is_gone_is_told_and_what_was_known_stays() {
    let mut view = of_daemon(three());
    view.take(News::Lost("it has ended the stream".into()));
    let text = frame(&mut view, 80, 24);
    assert!(text.contains("no answer") && text.contains("0000:3b:00.0"), "{text}");
    view.take(News::Host(vec!["no vfiod answers on /run/vfiod/status.sock".into()]));
    let text = frame(&mut view, 80, 24);
    assert!(text.contains("no daemon: the host itself") && text.contains("no vfiod answers"), "{text}");
}

#[test]
fn a_hostile_name_cannot_write_on_the_terminal() {
    let mut rows = three();
    rows[2].holders[0].command = "\x1b[2Jevil\n".into();
    let text = frame(&mut of_daemon(rows), 80, 24);
    assert!(!text.contains('\x1b') && text.contains("[2Jevil"), "{text}");
}
