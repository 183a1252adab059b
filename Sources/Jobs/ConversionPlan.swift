import Formats
import FoundationEssentials
import OrderedCollections
import Storage
import Transform

/// The complete description of an output file except its bytes: its sources, and the place and
/// encoding of each record.
///
/// The `plan` command writes it, a journal begins with it, and rank 0 sends it to the other ranks.
/// Every process that has it can make any of the records, with the same bits.
package struct ConversionPlan: Sendable {
  package static let schemaVersion = 2

  package let request: ConversionRequest
  /// The files from which the model was read, beginning with the one that was opened.
  package let sources: [SourceFile]
  /// The part of a nested checkpoint that was taken; `nil` for all of it.
  package let root: String?
  /// The content of the output.
  package let content: Content

  package enum Content: Sendable {
    /// The header of a packed file, without checksums.
    case packed(PackedHeader)
    /// Tensors that keep every bit, in another format.
    case copy(CopyOutline)
  }

  init(request: ConversionRequest, sources: [SourceFile], root: String?, content: Content) {
    self.request = request
    self.sources = sources
    self.root = root
    self.content = content
  }

  /// - Throws: `ModelError` when `json` is not a plan or has another version.
  package init(parsing json: JSONValue) throws {
    var members = try JSONObjectReader(json)
    let version = try members.require("schemaVersion", members.integer("schemaVersion"))
    guard version == Self.schemaVersion else {
      throw ModelError.unsupported(
        "plans of version \(version) are not known; this program reads version "
          + "\(Self.schemaVersion)")
    }
    request = try members.require(
      "request", members.object("request") { try ConversionRequest(parsing: &$0) })
    sources = try members.require(
      "sources", members.objects("sources") { try SourceFile(parsing: &$0) })
    root = try members.string("root")
    content =
      request.isPacked
      ? .packed(try PackedHeader(parsing: members.require("header", members.take("header"))))
      : .copy(
        try members.require("copy", members.object("copy") { try CopyOutline(parsing: &$0) }))
  }

  /// - Throws: `ModelError` when the file cannot be read or is not a plan.
  package init(contentsOf path: String) throws {
    self = try locatingErrors(path: path) {
      let file: InputFile
      do { file = try InputFile(path: path, access: .read) } catch let error as ModelError {
        throw error.offering(.plan)
      }
      let text = try file.bytes(at: 0, count: file.byteCount, purpose: "the plan")
      guard let json = try? JSONDocument.parse(text) else {
        throw ModelError.malformed("it is not a plan").offering(.plan)
      }
      return try ConversionPlan(parsing: json)
    }
  }

  package var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "schemaVersion": .integer(Self.schemaVersion),
      "request": request.json,
      "sources": .array(sources.map(\.json)),
    ]
    members["root"] = root.map(JSONValue.string)
    switch content {
    case .packed(let header): members["header"] = header.json
    case .copy(let outline): members["copy"] = outline.json
    }
    return .object(members)
  }

  /// The header of a packed output; `nil` for other formats.
  package var header: PackedHeader? {
    if case .packed(let header) = content { header } else { nil }
  }

  /// Every tensor of the output, in the archive's order.
  package var tensors: OrderedDictionary<String, TensorForm> {
    switch content {
    case .packed(let header):
      header.names.mapValues { index in
        TensorForm(
          elementType: header.entries[index].elementType, shape: header.entries[index].shape)
      }
    case .copy(let outline): outline.tensors
    }
  }

  /// The places of the output's records.
  var places: [RecordPlace] {
    switch content {
    case .packed(let header):
      header.entries.map { RecordPlace(offset: $0.offset, byteCount: $0.byteCount) }
    case .copy(let outline): outline.places
    }
  }

  /// The plan's SHA-256 in hexadecimal, which identifies it.
  package var fingerprint: String { SharedBytes(json.serialized().utf8).sha256 }

  /// Checks that the sources have not changed since the plan was made.
  ///
  /// - Parameter absentFiles: sources that a conversion has consumed.
  /// - Throws: `ModelError` that names the first source that has changed.
  package func checkSources(absentFiles: Set<String> = []) throws {
    for source in sources where !absentFiles.contains(source.path) && !source.isUnchanged {
      throw ModelError.malformed(
        "it has been removed or changed since the conversion was planned", path: source.path)
    }
  }
}

/// The element type and shape of a tensor.
package struct TensorForm: Hashable, Sendable {
  let elementType: ElementType
  let shape: Shape
}

/// The place of a record in the output.
struct RecordPlace: Hashable, Sendable {
  let offset: Int
  let byteCount: Int
}

/// The content of an output that keeps every bit, and the places of its records.
package struct CopyOutline: Sendable {
  let tensors: OrderedDictionary<String, TensorForm>
  let values: OrderedDictionary<String, ArchiveValue>
  let metadata: OrderedDictionary<String, String>
  let places: [RecordPlace]

  init(of archive: TensorArchive, in file: PlannedFile<Never>) {
    tensors = archive.tensors.mapValues {
      TensorForm(elementType: $0.elementType, shape: $0.shape)
    }
    values = archive.values
    metadata = archive.metadata
    places = file.records.map { RecordPlace(offset: $0.offset, byteCount: $0.byteCount) }
  }

  init(parsing members: inout JSONObjectReader) throws {
    func all<Value>(
      _ key: String, _ convert: (JSONValue) throws -> Value
    ) throws -> OrderedDictionary<String, Value> {
      try members.require(
        key, members.object(key) { try $0.remaining.mapValues(convert) })
    }
    tensors = try all("tensors", TensorForm.init(parsing:))
    var sum = 0
    for form in tensors.values {
      guard let byteCount = form.elementType.byteCount(forElements: form.shape.elementCount),
        byteCount <= 1 << 60 - sum
      else {
        throw members.error(at: "tensors", "expected tensors of at most 2^60 bytes together")
      }
      sum += byteCount
    }
    values = try all("values", ArchiveValue.init(json:))
    metadata = try members.require("metadata", members.object("metadata") { try $0.strings() })
    places = try members.require("places", members.array("places")).map { place in
      guard case .array(let numbers) = place, numbers.count == 2,
        case .integer(let offset) = numbers[0], case .integer(let byteCount) = numbers[1],
        offset >= 0, byteCount >= 0, !offset.addingReportingOverflow(byteCount).overflow
      else { throw members.error(at: "places", "expected offsets and lengths") }
      return RecordPlace(offset: offset, byteCount: byteCount)
    }
  }

  var json: JSONValue {
    .object([
      "tensors": .object(tensors.mapValues(\.json)),
      "values": .object(values.mapValues(\.json)),
      "metadata": .object(metadata.mapValues(JSONValue.string)),
      "places": .array(places.map { .array([.integer($0.offset), .integer($0.byteCount)]) }),
    ])
  }
}

extension TensorForm {
  init(parsing json: JSONValue) throws {
    var members = try JSONObjectReader(json)
    let elementType: ElementType? = try members.choice("elementType")
    let dimensions = try members.require("shape", members.array("shape")).map { value in
      if case .integer(let dimension) = value { dimension } else { -1 }
    }
    guard let shape = Shape(dimensions) else {
      throw members.error(at: "shape", "expected the lengths of axes")
    }
    self.init(elementType: try members.require("elementType", elementType), shape: shape)
  }

  var json: JSONValue {
    .object([
      "elementType": .string(elementType.rawValue),
      "shape": .array(shape.dimensions.map(JSONValue.integer)),
    ])
  }
}

/// A request to convert a model to a file of another format.
///
/// Two runs with equal requests and input files write the same bytes, so one can continue where the
/// other stopped.
package struct ConversionRequest: Hashable, Sendable {
  /// The absolute path of the model.
  package let input: String
  /// The absolute path of the output file.
  package let output: String
  /// The requested part of a nested checkpoint; `nil` for the conventional one, or all.
  package let root: String?
  /// The name of the output's format.
  package let format: String
  /// The recipe by which weights are quantized; `nil` if every bit is kept.
  package let recipe: JSONValue?
  /// What changes on the way; `nil` if names and element types stay.
  package let edits: ArchiveEdits?
  /// The program and its version; other versions may write other bytes.
  package let producer: String

  /// - Parameters:
  ///   - input, output: paths; relative ones are resolved against the working folder.
  package init(
    input: String, output: String, root: String?, format: String, recipe: Recipe?,
    edits: ArchiveEdits? = nil
  ) {
    self.input = Self.absolute(input)
    self.output = Self.absolute(output)
    self.root = root
    self.format = format
    self.recipe = recipe?.jsonValue
    self.edits = edits
    producer = Producer.current
  }

  /// Whether the output is a packed file.
  package var isPacked: Bool { format == PackedFormat.identifier.name }

  private static func absolute(_ path: String) -> String {
    path.hasPrefix("/") ? path : "\(FileManager.default.currentDirectoryPath)/\(path)"
  }
}

extension ConversionRequest {
  init(parsing members: inout JSONObjectReader) throws {
    input = try members.require("input", members.string("input"))
    output = try members.require("output", members.string("output"))
    root = try members.string("root")
    format = try members.require("format", members.string("format"))
    recipe = members.take("recipe")
    edits = try members.object("edits") { try ArchiveEdits(parsing: &$0) }
    producer = try members.require("producer", members.string("producer"))
    guard isPacked == (recipe != nil) else {
      throw ModelError.malformed("the plan's format and recipe do not match")
    }
  }

  var json: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "input": .string(input), "output": .string(output),
    ]
    members["root"] = root.map(JSONValue.string)
    members["format"] = .string(format)
    members["recipe"] = recipe
    members["edits"] = edits?.json
    members["producer"] = .string(producer)
    return .object(members)
  }
}

/// A report of a plan's work, for choosing the number of jobs.
package struct ConversionPlanReport: Codable, Hashable, Sendable {
  package static let currentSchemaVersion = 1

  /// The balance of the work among a number of jobs.
  package struct Division: Codable, Hashable, Sendable {
    package let jobCount: Int
    /// The bytes read by the job that reads the most.
    package let largestShareByteCount: Int
    /// The ratio of that share to the mean; 1 if all shares are equal.
    package let imbalance: Double
  }

  package let schemaVersion: Int
  /// The plan's file.
  package let plan: String
  package let input: String
  package let output: String
  package let format: String
  /// The number of tensors with their own record.
  package let recordCount: Int
  /// The number of bytes read.
  package let sourceByteCount: Int
  /// The number of bytes of the output before the part that seals it.
  package let recordsByteCount: Int
  package let largestTensor: String?
  package let largestTensorByteCount: Int
  package let divisions: [Division]

  /// - Parameter plan: the path of the plan.
  package init(_ conversion: Conversion, plan: String) {
    let file = conversion.file
    let records = file.records
    let largest = file.largestFirst.first.map { records[$0] }
    schemaVersion = Self.currentSchemaVersion
    self.plan = plan
    input = conversion.plan.request.input
    output = conversion.plan.request.output
    format = conversion.plan.request.format
    recordCount = file.tensorRecordCount(of: records.indices)
    let total = records.reduce(0) { $0 + $1.sourceByteCount }
    sourceByteCount = total
    recordsByteCount = file.recordsEnd
    largestTensor = largest?.name
    largestTensorByteCount = largest?.sourceByteCount ?? 0
    divisions = sequence(first: 1) { 2 * $0 }.prefix { $0 <= min(1024, records.count) }
      .map { count in
        let shares = JobShare.all(of: file, count: count)
        let most =
          shares.map { share in share.reduce(0) { $0 + records[$1].sourceByteCount } }.max() ?? 0
        return Division(
          jobCount: count, largestShareByteCount: most,
          imbalance: total > 0 ? Double(most) * Double(count) / Double(total) : 1)
      }
  }
}
