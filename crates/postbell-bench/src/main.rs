//! Measures Postbell; see the library.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    postbell_bench::run().await
}
