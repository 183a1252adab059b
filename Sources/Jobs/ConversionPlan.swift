import Formats
import OrderedCollections

/// Everything about an output file but its bytes: what it is made from, and each record's place and
/// encoding.
///
/// It is what the `plan` command writes, the first line of a journal, and what rank 0 sends to the
/// others. Whoever has it makes any of the records, bit for bit as every other.
package struct ConversionPlan: Sendable {
  package static let schemaVersion = 1

  package let request: ConversionRequest
  /// The files that the model was read from, the one that was opened first.
  package let sources: [SourceFile]
  /// The part of a nested checkpoint that was taken; `nil` for all of it.
  package let root: String?
  /// The tensors with their records' places, without checksums: the header of a packed file, or the
  /// same of another format, in which every record is raw.
  package let header: PackedHeader

  init(
    request: ConversionRequest, sources: [SourceFile], root: String?, header: PackedHeader
  ) {
    self.request = request
    self.sources = sources
    self.root = root
    self.header = header
  }

  /// - Throws: `FormatError` for whatever is no plan, or one of another version.
  package init(parsing json: JSONValue) throws {
    var members = try JSONMembers(json, subject: "the plan")
    let version = try members.require("schemaVersion", members.takeInteger("schemaVersion"))
    guard version == Self.schemaVersion else {
      throw FormatError.unsupported(
        "plans of version \(version) are not known; this program reads version "
          + "\(Self.schemaVersion)")
    }
    request = try ConversionRequest(
      parsing: members.require("request", members.take("request")))
    sources = try members.require("sources", members.takeArray("sources"))
      .map(SourceFile.init(parsing:))
    root = try members.takeString("root")
    header = try PackedHeader(parsing: members.require("header", members.take("header")))
  }

  /// - Throws: `FormatError` when the file cannot be read, or is no plan.
  package init(contentsOf path: String) throws {
    self = try locatingErrors(path: path) {
      let file = try InputFile(path: path, access: .read)
      let text = try file.bytes(at: 0, count: file.byteCount, purpose: "the plan")
      return try ConversionPlan(parsing: JSONDocument.parse(text))
    }
  }

  package var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "schemaVersion": .integer(Self.schemaVersion),
      "request": request.json,
      "sources": .array(sources.map(\.json)),
    ]
    members["root"] = root.map(JSONValue.string)
    members["header"] = header.json
    return .object(members)
  }

  /// What tells plans apart: a SHA-256 in hexadecimal.
  package var fingerprint: String { SharedBytes(json.serialized().utf8).sha256 }

  /// - Throws: `FormatError` that names the first source that is not as it was planned with.
  ///
  /// - Parameter absentFiles: sources that a conversion has consumed.
  package func checkSources(absentFiles: Set<String> = []) throws {
    for source in sources where !absentFiles.contains(source.path) && !source.isUnchanged {
      throw FormatError.malformed(
        "it is gone or was changed since the conversion was planned", path: source.path)
    }
  }
}
