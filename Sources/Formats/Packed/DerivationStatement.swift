import OrderedCollections
import Storage

/// An unsigned in-toto Statement that a packed file was made from a source by a recipe.
///
/// It says by digests what belongs together, and nothing about who says so: sign it as any other
/// statement. Source: in-toto Attestation Framework, Statement v1
/// (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md).
///
/// ```swift
/// let file = try InputFile(path: "model.condi")
/// let statement = try DerivationStatement(of: PackedModel(parsing: file), named: "model.condi")
/// print(statement.json.serialized(pretty: true))
/// ```
package struct DerivationStatement: Hashable, Sendable {
  /// `_type` of every statement.
  package static let type = "https://in-toto.io/Statement/v1"
  /// The type of the predicate, whose members `schemas/derivation-statement.schema.json` describes.
  package static let predicateType = "urn:condi-convert:derivation:1"
  /// The largest statement that is read, in bytes.
  package static let byteLimit = 1 << 20

  /// The packed file's name, without a folder.
  package var name: String
  /// The packed file's SHA-256 in lower-case hexadecimal.
  package var sha256: String
  /// The digest, format and length of the source, and what was taken from it, as in the packed
  /// file's header.
  package var source: Source
  /// The SHA-256 of the recipe, serialized as in the packed file's header; `nil` without a recipe.
  package var recipeSHA256: String?
  /// The program and version that wrote the packed file.
  package var producer: String

  /// The source of a packed file.
  package struct Source: Hashable, Sendable {
    package var format: String
    package var byteCount: Int
    /// As in `PackedHeader.Source`.
    package var sha256: String
    package var root: String?
  }

  /// Makes the statement of an intact packed file.
  ///
  /// - Throws: `ModelError` when the header names no source or the file cannot be read.
  package init(of model: PackedModel, named name: String) throws {
    guard let source = model.header.source else {
      throw ModelError("the packed file's header does not say from what it was made")
    }
    self.name = name
    sha256 = try model.file.sha256()
    self.source = Source(
      format: source.format, byteCount: source.byteCount, sha256: source.sha256, root: source.root)
    recipeSHA256 = model.header.recipe.map(Self.digest)
    producer = model.header.producer
  }

  private static func digest(_ recipe: JSONValue) -> String {
    SharedBytes(Array(recipe.serialized().utf8)).sha256
  }

  /// Returns what the statement says differently from the true one of a packed file, as lower-case
  /// sentences; the names of files may differ.
  package func contradictions(to truth: DerivationStatement) -> [String] {
    var sentences: [String] = []
    func compare(_ what: String, _ own: String?, _ other: String?) {
      guard own != other else { return }
      sentences.append("\(what) is \(other ?? "none"), but the statement says \(own ?? "none")")
    }
    compare("the packed file's SHA-256", sha256, truth.sha256)
    compare("the source's SHA-256", source.sha256, truth.source.sha256)
    compare("the source's length", "\(source.byteCount)", "\(truth.source.byteCount)")
    compare("the source's format", source.format, truth.source.format)
    compare("the part taken", source.root, truth.source.root)
    compare("the recipe's SHA-256", recipeSHA256, truth.recipeSHA256)
    compare("the program", producer, truth.producer)
    return sentences
  }
}

extension DerivationStatement {
  package var json: JSONValue {
    func digest(_ sha256: String) -> JSONValue { .object(["sha256": .string(sha256)]) }
    var source: OrderedDictionary<String, JSONValue> = [
      "format": .string(self.source.format), "byteCount": .integer(self.source.byteCount),
      "digest": digest(self.source.sha256),
    ]
    source["root"] = self.source.root.map(JSONValue.string)
    var predicate: OrderedDictionary<String, JSONValue> = ["source": .object(source)]
    predicate["recipe"] = recipeSHA256.map { .object(["digest": digest($0)]) }
    predicate["producer"] = .string(producer)
    return .object([
      "_type": .string(Self.type),
      "subject": .array([.object(["name": .string(name), "digest": digest(sha256)])]),
      "predicateType": .string(Self.predicateType),
      "predicate": .object(predicate),
    ])
  }

  /// Reads a statement. Members that are not known are ignored, as in-toto asks for.
  ///
  /// - Throws: `ModelError` when it is no statement of this kind about one file, or exceeds
  ///   `byteLimit`.
  package init(contentsOf file: InputFile) throws {
    self = try locatingErrors(path: file.path) {
      guard file.byteCount <= Self.byteLimit else {
        throw ModelError(
          .limitExceeded(
            what: "a statement in bytes", limit: Self.byteLimit, found: "\(file.byteCount)"))
      }
      return try Self(
        parsing: JSONDocument.parse(
          file.bytes(at: 0, count: file.byteCount, purpose: "the statement")))
    }
  }

  package init(parsing json: JSONValue) throws {
    var members = try JSONObjectReader(json)
    if members.take("payloadType") != nil {
      throw ModelError.unsupported(
        "it is a signed envelope (DSSE); check its signature, and take the statement out of its "
          + "'payload'")
    }
    func require(_ key: String, _ expected: String) throws {
      let found = try members.require(key, members.string(key))
      guard found == expected else {
        throw ModelError.mismatch(expected: "the \(key) '\(expected)'", found: "'\(found)'")
      }
    }
    try require("_type", Self.type)
    try require("predicateType", Self.predicateType)
    let subjects = try members.require(
      "subject",
      members.objects("subject") { subject in
        (
          name: try subject.require("name", subject.string("name")),
          sha256: try Self.digest(&subject)
        )
      })
    guard let subject = subjects.first, subjects.count == 1 else {
      throw ModelError.mismatch(expected: "one subject", found: "\(subjects.count)")
    }
    (name, sha256) = subject
    (source, recipeSHA256, producer) = try members.require(
      "predicate",
      members.object("predicate") { predicate in
        let source = try predicate.require(
          "source",
          predicate.object("source") { source in
            Source(
              format: try source.require("format", source.string("format")),
              byteCount: try source.require("byteCount", source.count("byteCount")),
              sha256: try Self.digest(&source), root: try source.string("root"))
          })
        return (
          source, try predicate.object("recipe") { try Self.digest(&$0) },
          try predicate.require("producer", predicate.string("producer"))
        )
      })
  }

  /// Writes the statement as JSON, which appears whole at `path` or not at all.
  ///
  /// - Throws: `ModelError` when there is a file that may not be replaced, or writing fails.
  package func write(to path: String, replacesExisting: Bool) throws {
    try AtomicFileWriter.write(
      SharedBytes("\(json.serialized(pretty: true))\n".utf8), to: path,
      replacesExisting: replacesExisting)
  }

  private static func digest(_ members: inout JSONObjectReader) throws -> String {
    let text = try members.require(
      "digest",
      members.object("digest") { try $0.require("sha256", $0.string("sha256")) })
    guard text.utf8.count == 64, text.allSatisfy({ "0123456789abcdef".contains($0) }) else {
      throw ModelError.malformed("'sha256' is not 64 hexadecimal digits")
    }
    return text
  }
}
