//! [`Patterns`]: which tables or columns a configuration names.

/// Globs over dotted names, such as `dbo.*` or `sales.order_*`.
///
/// `*` stands for any characters, `?` for one. Upper and lower case are not told apart, as in most
/// databases' collation; a pattern without a dot is matched against the last part alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// From the configuration's list.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Self(patterns.into_iter().map(|p| p.as_ref().to_lowercase()).collect())
    }

    /// True when there is no pattern at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when one of the patterns stands for this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.0.iter().any(|pattern| {
            if pattern.contains('.') || pattern == "*" {
                glob(pattern, &name)
            } else {
                glob(pattern, name.rsplit('.').next().unwrap_or(&name))
            }
        })
    }
}

/// Linear in practice: on a mismatch only the last `*` is tried again.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match star {
                Some((star_p, star_t)) => {
                    star = Some((star_p, star_t + 1));
                    p = star_p + 1;
                    t = star_t + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_a_reader_expects() {
        for (pattern, name, expected) in [
            ("dbo.*", "dbo.orders", true),
            ("dbo.*", "sales.orders", false),
            ("*", "sales.orders", true),
            ("*.order_?tems", "shop.Order_Items", true),
            ("orders", "dbo.Orders", true),
            ("orders", "dbo.orders2", false),
            ("dbo.*a*b", "dbo.xaxxb", true),
            ("dbo.*a*b", "dbo.xaxxbc", false),
            ("dbo.t.secret*", "dbo.t.secret_code", true),
        ] {
            assert_eq!(Patterns::new([pattern]).matches(name), expected, "{pattern} {name}");
        }
    }
}
