//! `#[test_on_runtimes]`, which tiberius' own tests want and which is not published with them: one `#[test]`
//! for each function, with a client from the connection string, on tokio's runtime.

use proc_macro::{TokenStream, TokenTree};

#[proc_macro_attribute]
pub fn test_on_runtimes(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let connection = attribute
        .into_iter()
        .find_map(|token| match token {
            TokenTree::Literal(text) => Some(text.to_string().trim_matches('"').to_owned()),
            _ => None,
        })
        .unwrap_or_else(|| "CONN_STR".to_owned());
    let name = function(item.clone()).expect("a function");
    let test = format!(
        "#[test] fn {name}_on_tokio() -> ::tiberius::Result<()> {{
            ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {{
                let config = ::tiberius::Config::from_ado_string(&{connection})?;
                let socket = ::tokio::net::TcpStream::connect(config.get_addr()).await?;
                socket.set_nodelay(true)?;
                let socket = ::tokio_util::compat::TokioAsyncWriteCompatExt::compat_write(socket);
                {name}(::tiberius::Client::connect(config, socket).await?).await
            }})
        }}"
    );
    let mut all = item;
    all.extend(test.parse::<TokenStream>().expect("a test function"));
    all
}

/// The word after `fn`.
fn function(item: TokenStream) -> Option<String> {
    let mut after_fn = false;
    for token in item {
        match token {
            TokenTree::Ident(word) if after_fn => return Some(word.to_string()),
            TokenTree::Ident(word) => after_fn = word.to_string() == "fn",
            // a name that another macro has put together comes in a group without brackets
            TokenTree::Group(group) if after_fn => return Some(group.stream().to_string()),
            _ => {}
        }
    }
    None
}
