//! What a test has the API server do wrong.

/// An error that every request of a kind gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which requests: `GET`, `POST`, `PATCH`; all where it is empty.
    pub method: &'static str,
    /// The HTTP status, such as 401, 403 or 500.
    pub code: u16,
}

impl Refusal {
    /// Every request is refused.
    #[must_use]
    pub const fn all(code: u16) -> Self {
        Self { method: "", code }
    }

    /// Requests of one method are refused.
    #[must_use]
    pub const fn of(method: &'static str, code: u16) -> Self {
        Self { method, code }
    }

    pub(super) fn hits(&self, method: &str) -> bool {
        self.method.is_empty() || self.method == method
    }

    /// The reason that goes with the code (apimachinery: `pkg/apis/meta/v1/types.go`, `StatusReason`).
    pub(super) const fn reason(&self) -> &'static str {
        match self.code {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            410 => "Expired",
            429 => "TooManyRequests",
            _ => "InternalError",
        }
    }
}

/// How a watch from a forgotten version is told so: both occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gone {
    /// As the HTTP status of the request.
    #[default]
    Status,
    /// As an event in a stream that was opened.
    Event,
}
