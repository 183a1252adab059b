import ArgumentParser
import Formats
import Storage
import Transform

/// Options that change names and element types on the way to an output.
struct EditOptions: ParsableArguments {
  @Option(
    name: .customLong("rename"),
    help: ArgumentHelp(
      "Replace what the regular expression matches in names, with $1 for its first group; may be "
        + "repeated, and applies in order.", valueName: "regex=text"))
  var renames: [NameReplacementArgument] = []

  @Option(
    name: .customLong("drop"),
    help: ArgumentHelp(
      "Leave out tensors and values of this name in the input; may be repeated.", valueName: "glob")
  )
  var drops: [String] = []

  @Option(
    name: .customLong("cast"),
    help: ArgumentHelp(
      "Round floating-point tensors of this (new) name to a type: float64, float32, float16, "
        + "bfloat16, float8_e4m3fn, float8_e5m2 or their short names; may be repeated, and the first "
        + "pattern that matches decides.", valueName: "glob=type"))
  var casts: [CastArgument] = []

  func validate() throws { _ = try value }

  /// The edits; `nil` if none are given.
  var value: ArchiveEdits? {
    get throws {
      do {
        let edits = try ArchiveEdits(
          renames: renames.map { try NameReplacement(pattern: $0.pattern, template: $0.template) },
          drops: drops.map(NameGlob.init),
          casts: casts.map { try .init($0.pattern, to: $0.elementType) })
        return edits.isEmpty ? nil : edits
      } catch {
        throw ValidationError("\(error)")
      }
    }
  }

  /// Returns the archive with the edits made, and what they changed.
  ///
  /// - Parameter path: the input, for errors.
  func applied(
    to archive: TensorArchive, path: String
  ) throws -> (archive: TensorArchive, changes: ArchiveChanges?) {
    guard let edits = try value else { return (archive, nil) }
    let edited = try locatingErrors(path: path) { try archive.edited(by: edits) }
    return (edited.archive, edited.changes)
  }
}

extension ReportOptions {
  /// Prints the report of what edits changed, if there were any.
  ///
  /// - Parameters:
  ///   - format: the name of the output's format.
  ///   - isPlan: whether nothing was written.
  func print(
    _ changes: ArchiveChanges?, input: String, output: String, format: String, root: String?,
    tensorCount: Int, isPlan: Bool = false
  ) throws {
    guard let changes else { return }
    try print(
      ConversionReport(
        input: input, output: output, format: format, root: root, tensorCount: tensorCount,
        edits: EditReport(changes), isPlan: isPlan), textLimit: 10)
  }
}

/// A pattern and an element type on the command line: `*.weight=bf16`.
struct CastArgument: ExpressibleByArgument {
  let pattern: String
  let elementType: ElementType

  init?(argument: String) {
    guard let (pattern, name) = argument.patternAndValue,
      let elementType = ElementType(castTarget: name)
    else { return nil }
    self.pattern = pattern
    self.elementType = elementType
  }
}
