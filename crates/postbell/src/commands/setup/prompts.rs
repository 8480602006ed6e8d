//! Questions at a terminal, or line by line where there is none.
//!
//! A question waits on a thread of its own: one that is waited for when the process ends would keep it
//! from ending.

use std::io::{BufRead, stdin};
use std::thread;

use inquire::ui::RenderConfig;
use inquire::{Confirm, InquireError, Password, PasswordDisplayMode, Select, Text};
use postbell_setup::{NoAnswer, Question};
use secrecy::SecretString;
use tokio::sync::oneshot;

/// How questions are asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Prompts {
    /// At a terminal, in colours or not.
    Terminal {
        /// Whether in colours.
        colours: bool,
    },
    /// By lines of standard input.
    Lines,
    /// Not at all.
    None,
}

impl Prompts {
    /// Asks for one of these options; nothing, where the answer is none of them.
    pub(super) async fn choose(
        self,
        question: &Question,
        options: &[String],
    ) -> Result<Option<usize>, NoAnswer> {
        let (text, options) = (question.text.clone(), options.to_vec());
        match self {
            Self::None => Err(NoAnswer::Unattended),
            Self::Terminal { colours } => {
                on_a_thread(move || {
                    let chosen = Select::new(&text, options)
                        .with_render_config(look(colours))
                        .raw_prompt();
                    chosen.map(|chosen| Some(chosen.index)).map_err(no_answer)
                })
                .await
            }
            Self::Lines => line().await.map(|line| chosen(&line, &options)),
        }
    }

    /// Asks for a line of text.
    pub(super) async fn text(self, question: &Question) -> Result<String, NoAnswer> {
        let (text, default) = (question.text.clone(), question.default.clone());
        match self {
            Self::None => default.ok_or(NoAnswer::Unattended),
            Self::Terminal { colours } => {
                on_a_thread(move || {
                    let mut prompt = Text::new(&text).with_render_config(look(colours));
                    if let Some(default) = &default {
                        prompt = prompt.with_default(default);
                    }
                    prompt.prompt().map_err(no_answer)
                })
                .await
            }
            Self::Lines => {
                let line = line().await?;
                Ok(match default {
                    Some(default) if line.trim().is_empty() => default,
                    _ => line,
                })
            }
        }
    }

    /// Asks for a line that is not shown.
    pub(super) async fn secret(self, question: &Question) -> Result<SecretString, NoAnswer> {
        let text = question.text.clone();
        match self {
            Self::None => Err(NoAnswer::Unattended),
            Self::Terminal { colours } => {
                on_a_thread(move || {
                    let answer = Password::new(&text)
                        .without_confirmation()
                        .with_display_mode(PasswordDisplayMode::Hidden)
                        .with_render_config(look(colours))
                        .prompt();
                    answer.map(SecretString::from).map_err(no_answer)
                })
                .await
            }
            Self::Lines => line().await.map(|line| line.trim().into()),
        }
    }

    /// Asks for yes or no.
    pub(super) async fn confirm(self, question: &Question) -> Result<bool, NoAnswer> {
        let (text, usual) = (
            question.text.clone(),
            question.default.as_deref() == Some("yes"),
        );
        match self {
            // That is what the flag says, whatever a person would be led to.
            Self::None => Ok(usual || question.flag == "--yes"),
            Self::Terminal { colours } => {
                on_a_thread(move || {
                    Confirm::new(&text)
                        .with_default(usual)
                        .with_render_config(look(colours))
                        .prompt()
                        .map_err(no_answer)
                })
                .await
            }
            Self::Lines => {
                let line = line().await?.trim().to_lowercase();
                Ok(if line.is_empty() {
                    usual
                } else {
                    line.starts_with('y')
                })
            }
        }
    }
}

/// Which option is meant: by its number, or by the beginning of its text, where one alone begins so.
fn chosen(answer: &str, options: &[String]) -> Option<usize> {
    let answer = answer.trim();
    if answer.is_empty() {
        return None;
    }
    let number: Option<usize> = answer.parse().ok();
    let index = number.and_then(|number| number.checked_sub(1));
    if let Some(index) = index.filter(|index| *index < options.len()) {
        return Some(index);
    }
    let options = options.iter().enumerate();
    let mut found = options.filter(|(_, option)| option.starts_with(answer));
    let (index, option) = found.next()?;
    (option == answer || found.next().is_none()).then_some(index)
}

fn look(colours: bool) -> RenderConfig<'static> {
    if colours {
        RenderConfig::default_colored()
    } else {
        RenderConfig::empty()
    }
}

fn no_answer(error: InquireError) -> NoAnswer {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => NoAnswer::Stopped,
        _ => NoAnswer::Unattended,
    }
}

/// A line of standard input. At its end there is nobody left to answer.
async fn line() -> Result<String, NoAnswer> {
    on_a_thread(|| {
        let mut line = String::new();
        match stdin().lock().read_line(&mut line) {
            Ok(read) if read > 0 => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
            _ => Err(NoAnswer::Unattended),
        }
    })
    .await
}

async fn on_a_thread<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, NoAnswer> + Send + 'static,
) -> Result<T, NoAnswer> {
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        // Whoever has asked may be gone.
        let _ = tell.send(ask());
    });
    told.await.unwrap_or(Err(NoAnswer::Stopped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_chosen_for_whoever_has_not_chosen() {
        let options = ["anns-project", "bobs-project", "bobs-other", "bobs"].map(str::to_owned);
        for (answer, expected) in [
            ("", None),
            ("  ", None),
            ("0", None),
            ("5", None),
            ("2", Some(1)),
            ("anns", Some(0)),
            ("bobs-", None),
            ("carols", None),
        ] {
            assert_eq!(chosen(answer, &options), expected, "{answer:?}");
        }
    }
}
