//! `acmezone token …`

use clap::Subcommand;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::Failure;
use super::output::{self, Output};
use crate::api::{CreatedToken, NewToken, Token, TokenState};
use crate::client::Client;
use crate::config::{Api, Registration};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a registration token and show it, this once
    ///
    /// Who has it may make accounts over the API where the configuration says `registration = "token"`. A client shows it
    /// in a header, or has it in the address of the server if it can send no header.
    #[command(after_long_help = "\
Examples:
  acmezone token create --uses 1 --expires 30d --note web-7
  acmezone token create --expires 2026-12-31")]
    Create {
        /// How many accounts can be made with it; any number if left out
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        uses: Option<u64>,
        /// How long it is good: 12h, 30d, 8w, or to the end of a day (UTC): 2026-12-31. For ever if left out
        #[arg(long, value_name = "TIME", value_parser = expiry)]
        expires: Option<Timestamp>,
        /// What it is for, shown in the list and in the log
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        note: String,
    },
    /// List all registration tokens, oldest first, the revoked ones too
    #[command(after_long_help = "Example:\n  acmezone token list")]
    List,
    /// Revoke a registration token
    ///
    /// Nobody makes an account with it any more. The accounts that were made with it stay, and clients that have the token
    /// in their server's address go on.
    #[command(after_long_help = "Example:\n  acmezone token revoke 1f3870be274f")]
    Revoke {
        /// As `token list` shows it
        id: String,
    },
}

impl Command {
    pub(super) async fn run(self, client: &Client, api: &Api, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::Create { uses, expires, note } => {
                let created = client.create_token(&NewToken { uses, expires, note }).await?;
                show_created(&created, api, out)
            }
            Command::List => {
                let tokens = client.tokens().await?;
                if out.json { Ok(out.pretty_json(&tokens)?) } else { show_all(&tokens, out) }
            }
            Command::Revoke { id } => {
                let token = client.revoke_token(&id).await?;
                if out.json {
                    return Ok(out.pretty_json(&token)?);
                }
                let stay = match token.registered {
                    0 => "no account was made with it".to_owned(),
                    1 => "the account that was made with it stays".to_owned(),
                    many => format!("the {many} accounts that were made with it stay"),
                };
                Ok(out.line(format_args!("revoked {}: {stay}", token.id))?)
            }
        }
    }
}

/// A span from now, or the end of a day.
fn expiry(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is neither a time such as 12h, 30d or 8w nor a day such as 2026-12-31");
    if let Ok(day) = text.parse::<Date>() {
        let end = day.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
        return end.map(|end| end.timestamp()).map_err(|_| wrong());
    }
    let span = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    Timestamp::now().checked_add(span.map_err(|_| wrong())?).map_err(|_| wrong())
}

fn show_created(created: &CreatedToken, api: &Api, out: &mut Output) -> Result<(), Failure> {
    if api.registration != Registration::Token {
        output::note(format_args!("note: it has no effect yet: [api] has not `registration = \"token\"`"));
    }
    if out.json {
        return Ok(out.pretty_json(created)?);
    }
    let CreatedToken { token, facts } = created;
    let now = Timestamp::now();
    out.facts(&[
        ("token", token.clone()),
        ("id", facts.id.clone()),
        ("uses", facts.uses_left.map_or_else(|| "any number".to_owned(), |uses| uses.to_string())),
        ("expires", facts.expires.map_or_else(|| "never".to_owned(), |at| output::date_and_distance(at, now))),
    ])?;
    let server = api.base_url().unwrap_or_else(|| "https://<host name of the API>".to_owned());
    out.line("")?;
    out.line("The token is shown only now. A client shows it in a header when it registers, one of these:")?;
    out.line(format_args!("  Authorization: Bearer {token}"))?;
    out.line(format_args!("  X-Registration-Token: {token}"))?;
    out.line("or, if it can send no header, has it in the server's address, for registration and updates alike:")?;
    out.line(format_args!("  {server}/{token}"))?;
    Ok(())
}

fn show_all(tokens: &[Token], out: &mut Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let row = |token: &Token| {
        vec![
            token.id.clone(),
            state(token.state).to_owned(),
            output::date(token.created),
            token.expires.map_or_else(|| "never".to_owned(), |at| output::distance(at, now)),
            token.uses_left.map_or_else(|| "any number".to_owned(), |uses| uses.to_string()),
            token.registered.to_string(),
            token.note.clone(),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    let head = ["ID", "STATE", "CREATED", "EXPIRES", "USES LEFT", "REGISTERED", "NOTE"];
    out.table(&head, &rows, "There are no registration tokens.")?;
    Ok(())
}

fn state(state: TokenState) -> &'static str {
    match state {
        TokenState::Valid => "valid",
        TokenState::Expired => "expired",
        TokenState::UsedUp => "used up",
        TokenState::Revoked => "revoked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_span_or_the_end_of_a_day() {
        assert_eq!(expiry("2026-12-31").unwrap().to_string(), "2027-01-01T00:00:00Z");
        let left = |text: &str| expiry(text).unwrap().as_second() - Timestamp::now().as_second();
        for (text, seconds) in [("90s", 90), ("12h", 43_200), ("30d", 2_592_000), ("8w", 4_838_400)] {
            assert!((seconds - 5..=seconds).contains(&left(text)), "{text}");
        }
        for bad in ["", "soon", "30", "3 months", "2026-02-30", "99999999999d"] {
            assert!(expiry(bad).is_err(), "{bad}");
        }
    }
}
