//! The checks of one resource, in an order in which none spoils the next.

use super::{
    book::Book,
    checks::{allocate, devices, health, list, pre_start, preferred, slow, storm, variables},
    hooks::Hooks,
    subject::{Subject, Terms},
};

/// Checks everything that a socket shows.
pub(super) async fn inspect(subject: &mut Subject, hooks: Option<&Hooks>, terms: &Terms, book: &mut Book) {
    if !list::check(subject, terms, book).await {
        return;
    }
    allocate::probe(subject, 1, terms, book).await;
    // Before anything else is claimed: other claims could be in its way.
    if book.wants(pre_start::GROUP.checks) {
        pre_start::check(subject, terms, book).await;
    }
    allocate::probe(subject, allocate::SAMPLE, terms, book).await;
    if subject.probes.is_empty() {
        book.all_unchecked(variables::GROUP.checks, allocate::NO_DEVICE);
        book.all_unchecked(devices::GROUP.checks, allocate::NO_DEVICE);
    } else {
        let again = allocate::check(subject, terms, book).await;
        variables::check(subject, again, terms, book).await;
        devices::check(subject, terms, book).await;
    }
    list::numa(subject, terms, book);
    if book.wants(preferred::GROUP.checks) {
        preferred::check(subject, terms, book).await;
    }
    let breaks = book.wants(health::GROUP.checks) || book.wants(storm::GROUP.checks) || book.wants(&[&slow::BACKLOG]);
    let hooks = hooks.filter(|_| breaks);
    let broken = health::check(subject, hooks, terms, book).await;
    match &broken {
        None if hooks.is_none() => book.all_unchecked(storm::GROUP.checks, health::NO_HOOKS),
        None => book.all_unchecked(storm::GROUP.checks, "breaking and mending one device once did not work"),
        Some((device, hooks)) if book.wants(storm::GROUP.checks) => {
            storm::check(subject, device, hooks, terms, book).await;
        }
        Some(_) => {}
    }
    if book.wants(slow::GROUP.checks) {
        let hooks = broken.as_ref().map(|(_, hooks)| hooks).filter(|_| book.wants(&[&slow::BACKLOG]));
        slow::check(subject, hooks, terms, book).await;
    }
    list::size(subject.name(), &subject.stream.seen(), book);
}
