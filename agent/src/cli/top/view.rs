//! What is shown: which rows, in which order, which one is chosen.

use super::super::{
    known::{Key, Known, holder, owned, owner, stranger},
    source::News,
};
use vfiod_proto::status::Row;

/// Where the news are from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// Nowhere yet.
    Nowhere,
    /// The running daemon.
    Daemon,
    /// The host itself; what is to be said of that.
    Host(Vec<String>),
    /// A daemon that answers no more.
    Lost(String),
}

/// Which rows are of interest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    All,
    Free,
    Owned,
    Unhealthy,
    Held,
    Strangers,
}

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Device,
    Resource,
    Health,
    Reason,
    Owner,
    Holder,
}

/// What is in front of the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Front {
    #[default]
    Nothing,
    /// Somebody is typing a filter.
    Filter,
    /// All that is known of the chosen device.
    Detail,
    /// The keys.
    Help,
}

/// Everything that a frame is made of.
#[derive(Debug)]
pub(super) struct View {
    pub(super) known: Known,
    pub(super) origin: Origin,
    pub(super) filter: String,
    pub(super) kind: Kind,
    pub(super) column: Column,
    pub(super) down: bool,
    pub(super) front: Front,
    /// The chosen row. It stays chosen wherever it is sorted to.
    pub(super) chosen: Option<Key>,
    /// The first row in sight.
    pub(super) first: usize,
    /// How many rows are in sight; told by whoever draws.
    pub(super) page: usize,
    /// How far the detail is scrolled.
    pub(super) scrolled: u16,
    /// What is shown, in order; made anew when something has changed.
    order: Option<Vec<Key>>,
}

impl Kind {
    const ALL: [Self; 6] = [Self::All, Self::Free, Self::Owned, Self::Unhealthy, Self::Held, Self::Strangers];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Free => "free",
            Self::Owned => "owned",
            Self::Unhealthy => "unhealthy",
            Self::Held => "held",
            Self::Strangers => "held by strangers",
        }
    }

    fn has(self, row: &Row) -> bool {
        let healthy = row.health == "Healthy";
        match self {
            Self::All => true,
            Self::Free => healthy && !owned(row),
            Self::Owned => owned(row),
            Self::Unhealthy => !healthy,
            Self::Held => !row.holders.is_empty(),
            Self::Strangers => stranger(row),
        }
    }
}

impl Column {
    pub(super) const ALL: [Self; 6] =
        [Self::Device, Self::Resource, Self::Health, Self::Reason, Self::Owner, Self::Holder];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Device => "DEVICE",
            Self::Resource => "RESOURCE",
            Self::Health => "HEALTH",
            Self::Reason => "REASON",
            Self::Owner => "OWNER",
            Self::Holder => "HOLDER",
        }
    }

    /// What stands in it.
    pub(super) fn of(self, row: &Row) -> String {
        match self {
            Self::Device => row.device.clone(),
            Self::Resource => row.resource.clone().unwrap_or_else(|| "(not permitted)".to_owned()),
            Self::Health => row.health.clone(),
            Self::Reason => row.reason.clone(),
            Self::Owner => owner(row),
            Self::Holder => holder(row),
        }
    }
}

impl View {
    pub(super) fn new(filter: String) -> Self {
        Self {
            known: Known::default(),
            origin: Origin::Nowhere,
            filter,
            kind: Kind::default(),
            // What is wrong stands first.
            column: Column::Health,
            down: true,
            front: Front::default(),
            chosen: None,
            first: 0,
            page: 1,
            scrolled: 0,
            order: None,
        }
    }

    /// Takes news; a failure is the caller's.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Daemon => self.origin = Origin::Daemon,
            News::Host(notes) => self.origin = Origin::Host(notes),
            News::Lost(reason) => self.origin = Origin::Lost(reason),
            News::Update(update) => {
                let may_change = update.complete || !update.rows.is_empty() || !update.gone.is_empty();
                self.known.take(*update);
                if may_change {
                    self.order = None;
                }
            }
            News::Failed(_) => {}
        }
    }

    /// The rows that are shown, in order.
    pub(super) fn order(&mut self) -> &[Key] {
        if self.order.is_none() {
            self.order = Some(self.sorted());
        }
        self.order.as_deref().unwrap_or_default()
    }

    fn sorted(&self) -> Vec<Key> {
        let wanted = self.filter.to_lowercase();
        let words: Vec<&str> = wanted.split_whitespace().collect();
        let shown = self.known.rows.iter().filter(|(_, row)| self.kind.has(row) && matches(row, &words));
        let mut keyed: Vec<(String, &Key)> = shown.map(|(key, row)| (self.column.of(row), key)).collect();
        // Rows without a resource come last, and equals stay in the order of resource and device.
        let tie = |key: &Key| (key.0.is_none(), key.0.clone(), key.1.clone());
        keyed.sort_by(|(a, a_key), (b, b_key)| {
            let way = if self.down { b.cmp(a) } else { a.cmp(b) };
            way.then_with(|| tie(a_key).cmp(&tie(b_key)))
        });
        keyed.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// The place of the chosen row; the first one, where it is not shown.
    pub(super) fn place(&mut self) -> usize {
        let Some(chosen) = self.chosen.clone() else { return 0 };
        self.order().iter().position(|key| *key == chosen).unwrap_or(0)
    }

    /// The chosen row.
    pub(super) fn row(&mut self) -> Option<Row> {
        let place = self.place();
        let key = self.order().get(place)?.clone();
        self.known.rows.get(&key).cloned()
    }

    /// Chooses the row at a place, or the nearest there is.
    pub(super) fn choose(&mut self, place: usize) {
        let last = self.order().len().saturating_sub(1);
        let place = place.min(last);
        self.chosen = self.order().get(place).cloned();
        self.scrolled = 0;
    }

    /// Brings the chosen row into sight of `page` rows.
    pub(super) fn scroll(&mut self, page: usize) {
        self.page = page.max(1);
        let (place, count) = (self.place(), self.order().len());
        self.first = self.first.min(place).max((place + 1).saturating_sub(self.page));
        self.first = self.first.min(count.saturating_sub(self.page));
    }

    pub(super) fn filter_by(&mut self, filter: String) {
        self.filter = filter;
        self.order = None;
    }

    pub(super) fn next_kind(&mut self) {
        let place = Kind::ALL.iter().position(|&kind| kind == self.kind).unwrap_or(0);
        self.kind = Kind::ALL.get(place + 1).copied().unwrap_or_default();
        self.order = None;
    }

    pub(super) fn all_kinds(&mut self) {
        self.kind = Kind::All;
        self.order = None;
    }

    pub(super) fn next_column(&mut self) {
        let place = Column::ALL.iter().position(|&column| column == self.column).unwrap_or(0);
        self.column = Column::ALL.get(place + 1).copied().unwrap_or(Column::Device);
        // Names from the first on; health and who has it, so that what is wrong and what is used stands first.
        self.down = matches!(self.column, Column::Health | Column::Owner | Column::Holder);
        self.order = None;
    }

    pub(super) fn turn(&mut self) {
        self.down = !self.down;
        self.order = None;
    }
}

/// Whether all the words stand somewhere in the row.
fn matches(row: &Row, words: &[&str]) -> bool {
    if words.is_empty() {
        return true;
    }
    let mut text: String = Column::ALL.iter().map(|column| column.of(row) + "\n").collect();
    text += &row.message;
    for holder in &row.holders {
        let pod = holder.pod.as_deref().or(holder.pod_uid.as_deref()).unwrap_or_default();
        text += &format!("\n{} {} {pod} {}", holder.command, holder.pid, holder.relation);
    }
    let group = row.iommu_group.map(|group| format!("\ngroup {group}")).unwrap_or_default();
    let text = (text + &group).to_lowercase();
    words.iter().all(|word| text.contains(word))
}
