//! What is listed, and why: facts and permits folded into one table per resource.
