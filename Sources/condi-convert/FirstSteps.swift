import Formats
import FoundationEssentials
import Imaging
import Storage
import SuperResolution

/// What is said to users who do not name a command yet.
enum FirstSteps {
  /// For the program without arguments.
  static let guide = """
    condi-convert makes full-precision models small and low-bit, and shows what that did.

    Begin with a checkpoint of yours, here model.pth:

      condi-convert inspect model.pth --sort condition --limit 10
          lists its layers, the worst-conditioned first
      condi-convert convert model.pth model.condi --bits 4
          quantizes and packs it
      condi-convert verify model.condi --reference model.pth
          checks every byte of the result, and how true it is to the checkpoint

    'condi-convert --help' lists all commands, 'condi-convert convert -h' shows how to use one.
    """

  /// What to try instead of `arguments`, whose first is a file or a misspelt command; `nil` for
  /// everything that the parser should look at.
  static func hint(for arguments: [String]) -> String? {
    guard let word = arguments.first, !word.isEmpty, !word.hasPrefix("-") else { return nil }
    let commands =
      CondiConvert.commands.map { $0.page.name } + ["help"]
    guard !commands.contains(word) else { return nil }
    if FileManager.default.fileExists(atPath: word) {
      let lines = suggestions(for: word).map { "\n  condi-convert \($0)" }.joined()
      return "a command is missing before '\(word.escapingControlCharacters)'; for example:\(lines)"
    }
    let nearest = commands.map { ($0, distance($0, word)) }.min { $0.1 < $1.1 }
    guard let nearest, nearest.1 <= 2 else { return nil }
    return "there is no command '\(word.escapingControlCharacters)'; is it '\(nearest.0)'?"
      + "\nUsage: condi-convert <subcommand>"
      + "\n  See 'condi-convert --help' for more information."
  }

  private static func suggestions(for path: String) -> [String] {
    let file = quoted(path)
    let stem = path.pathStem
    if let input = try? InputFile(path: path, access: .read), PackedFormat().recognizes(input) {
      return [
        "inspect \(file)", "verify \(file)", "unpack \(file) \(quoted(stem + ".safetensors"))",
      ]
    }
    if ImageFormat(path: path) != nil {
      return ["upscale model.condi \(file) \(quoted(stem + "-large.png"))"]
    }
    return ["inspect \(file)", "convert \(file) \(quoted(stem + ".condi")) --bits 4"]
  }

  /// `path` as one word of a shell's command line, which is not mistaken for an option.
  private static func quoted(_ path: String) -> String {
    let isPlain = path.utf8.allSatisfy { byte in
      let scalar = Unicode.Scalar(byte)
      return scalar.properties.isAlphabetic && scalar.isASCII || ("0"..."9").contains(scalar)
        || "/._-+".unicodeScalars.contains(scalar)
    }
    let text = path.escapingControlCharacters
    return isPlain ? text : "'\(text.replacing("'", with: "'\\''"))'"
  }

  /// Insertions, deletions, replacements and exchanges of neighbours between two words (optimal
  /// string alignment).
  static func distance(_ first: String, _ second: String) -> Int {
    let (a, b) = (Array(first), Array(second.prefix(40)))
    var rows = [Array(0...b.count)]
    for i in a.indices {
      var row = [i + 1]
      for j in b.indices {
        var least = min(row[j] + 1, rows[i][j + 1] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
          least = min(least, rows[i - 1][j - 1] + 1)
        }
        row.append(least)
      }
      rows.append(row)
    }
    return rows[a.count][b.count]
  }
}
