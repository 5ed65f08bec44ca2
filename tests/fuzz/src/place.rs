//! Places in a text, as problems name them.

use acmezone::zone::Place;

/// Panics unless the place is a character of the text, or right behind the end of a line of it.
pub fn assert_inside(text: &str, place: Place) {
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&place.line), "{place:?} of {} lines", lines.len());
    let characters = lines[place.line - 1].chars().count();
    assert!((1..=characters + 1).contains(&place.column), "{place:?}, where there are {characters} characters");
}
