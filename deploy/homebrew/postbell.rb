# Made by scripts/release from deploy/homebrew/postbell.rb, with the version and the checksums.
class Postbell < Formula
  desc "Gmail push notifications for bots"
  homepage "https://github.com/postbell/postbell"
  version "@VERSION@"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "https://github.com/postbell/postbell/releases/download/v@VERSION@/postbell-aarch64-apple-darwin.tar.gz"
      sha256 "@SHA256 aarch64-apple-darwin@"
    end
    on_intel do
      url "https://github.com/postbell/postbell/releases/download/v@VERSION@/postbell-x86_64-apple-darwin.tar.gz"
      sha256 "@SHA256 x86_64-apple-darwin@"
    end
  end
  on_linux do
    on_arm do
      url "https://github.com/postbell/postbell/releases/download/v@VERSION@/postbell-aarch64-unknown-linux-musl.tar.gz"
      sha256 "@SHA256 aarch64-unknown-linux-musl@"
    end
    on_intel do
      url "https://github.com/postbell/postbell/releases/download/v@VERSION@/postbell-x86_64-unknown-linux-musl.tar.gz"
      sha256 "@SHA256 x86_64-unknown-linux-musl@"
    end
  end

  def install
    bin.install "postbell"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/postbell.bash" => "postbell"
    zsh_completion.install "completions/_postbell"
    fish_completion.install "completions/postbell.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/postbell --version")
    system bin/"postbell", "demo", "--mails", "1"
  end
end
