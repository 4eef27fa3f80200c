//! What is asked for, sorted into what the table knows and what it does not.

use crate::allocator::{
    Slot, Table,
    bits::Bits,
    usual::{FIELD, Usual},
    wire::{self, Fields, Malformed},
};
use std::collections::BTreeSet;

/// A wish, id by id. Whatever is named twice counts once.
pub(super) struct Asked<'a> {
    table: &'a Table,
    /// Places that are offered.
    known: Bits,
    /// Offered ids that the table does not have.
    strangers: BTreeSet<&'a str>,
    required: Vec<&'a str>,
    required_places: Vec<usize>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self {
            table,
            known: Bits::new(table.slots().len()),
            strangers: BTreeSet::new(),
            required: Vec::new(),
            required_places: Vec::new(),
        }
    }

    /// Takes an id that may be chosen.
    #[inline]
    pub(super) fn offer(&mut self, id: &'a [u8]) -> Result<(), Malformed> {
        match self.table.place_named(id) {
            Some(place) => self.known.insert(place),
            None => drop(self.strangers.insert(wire::text(id)?)),
        }
        Ok(())
    }

    /// Takes the ids that may be chosen as long as the fields that come next are such, and as nearly all are: PCI functions
    /// of the table, of domains with four digits.
    #[inline]
    pub(super) fn offer_usual(&mut self, fields: &mut Fields<'a>) {
        while let Some(field) = fields.0.first_chunk()
            && let Some(place) = Usual::from_field(field).and_then(|id| self.table.place_usual(id))
            && let Some(rest) = fields.0.get(FIELD..)
        {
            self.known.insert(place);
            fields.0 = rest;
        }
    }

    /// Takes an id that must be chosen.
    pub(super) fn require(&mut self, id: &'a [u8]) -> Result<(), Malformed> {
        let text = wire::text(id)?;
        if !self.required.contains(&text) {
            self.required.push(text);
            self.required_places.extend(self.table.place_named(id));
        }
        Ok(())
    }

    pub(super) const fn table(&self) -> &'a Table {
        self.table
    }

    /// The required ids, in their order.
    pub(super) fn required(&self) -> Vec<&'a str> {
        self.required.clone()
    }

    /// The devices among the required ones.
    pub(super) fn anchors(&self) -> Vec<&'a Slot> {
        self.required_places.iter().filter_map(|&place| Some(self.table.slots().get(place)?.as_ref())).collect()
    }

    /// The places to choose from: the required ones are not among them.
    pub(super) fn offered(&self) -> Bits {
        let mut offered = self.known.clone();
        self.required_places.iter().for_each(|&place| offered.remove(place));
        offered
    }

    /// How many ids to choose from the table does not have.
    pub(super) fn strangers(&self) -> usize {
        self.strangers.iter().filter(|id| !self.required.contains(id)).count()
    }
}
