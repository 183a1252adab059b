import Storage

/// A packed file looked at as a whole, damaged or not: every fault with its place, and what of the
/// file can be read in spite of them.
///
/// A bit that is flipped anywhere, a file that is cut off or continued, and blocks that changed
/// places are found, because the prologue, the header and each record have checksums, and padding
/// is zero. What is damaged is named as far as the checksums can tell.
///
/// ```swift
/// let examination = try PackedExamination(InputFile(path: "model.condi"))
/// if let model = examination.model {
///   print("\(model.header.entries.count) tensors, \(examination.faults.count) faults")
/// }
/// ```
public struct PackedExamination: Sendable {
  /// In file order; none when the file is whole.
  public let faults: [PackedFault]
  /// The file with its header; `nil` when the header cannot be read. Records with a fault cannot
  /// be, either.
  public let model: PackedModel?
  /// The prologue as it must have been: as it is, or made anew from the header, where what is left
  /// proves it. `nil` where nothing does.
  let prologue: PackedPrologue?
  /// The bytes up to where the file should end.
  let content: InputFile

  /// Examines a file: its prologue, its header, and every record's checksum.
  ///
  /// - Parameter map: runs the checks of the records.
  /// - Throws: `ModelError` when the file cannot be read or is of another version.
  public init(
    _ file: InputFile, mappingChecks map: PackedModel.CheckMap = PackedModel.checkingInOrder
  ) throws {
    var faults: [PackedFault] = []
    var content = file
    var found: PackedPrologue?
    do {
      found = try Self.intactPrologue(of: file)
    } catch let error as ModelError where error.isDamage {
      faults.append(
        PackedFault(
          .prologue, offset: error.isChecksum ? 0 : error.offset ?? 0,
          byteCount: PackedPrologue.byteCount, message: "\(error.problem)"))
    }
    if let found, let fault = Self.faultOfLength(file.byteCount, found) {
      faults.append(fault)
      if found.fileByteCount < file.byteCount {
        content = InputFile(
          try file.bytes(at: 0, count: found.fileByteCount, purpose: "the file"), path: file.path)
      }
    }
    self.content = content
    let isComplete = (found?.fileByteCount ?? content.byteCount) == content.byteCount
    let isProloguePresent = found != nil
    if !isProloguePresent { found = try PackedPrologue(recoveredFrom: content) }

    var model: PackedModel?
    if let found, isComplete {
      do {
        model = try PackedModel(parsing: content, found)
      } catch let error as ModelError where error.isDamage {
        faults.append(
          PackedFault(
            .header, tensor: nil, offset: found.headerOffset, byteCount: found.headerByteCount,
            message: Self.message(of: error)))
      }
    }
    self.model = model
    prologue =
      isProloguePresent
      ? found : try model.flatMap { try $0.provesItsPrologue() ? $0.prologue : nil }
    faults += try model?.verifyRecords(mappingChecks: map) ?? []
    self.faults = faults.sorted { $0.offset < $1.offset }
  }

  /// What the file's prologue says of the header, where the prologue is whole: enough to tell whether
  /// another file is the one that this was.
  package var headerProof: PackedHeaderProof? {
    faults.contains { $0.region == .prologue } ? nil : prologue.map(PackedHeaderProof.init)
  }

  /// Whether `file` is a packed one, however damaged: at least half of the first eight bytes are
  /// those of the format.
  public static func resembles(_ file: InputFile) -> Bool {
    let magic = PackedPrologue.magic
    guard
      let head = try? file.bytes(
        at: 0, count: min(magic.count, file.byteCount), purpose: "the magic"
      ).array
    else { return false }
    return zip(head, magic).count { $0 == $1 } * 2 >= magic.count
  }

  private static func intactPrologue(of file: InputFile) throws -> PackedPrologue {
    let bytes = try file.bytes(at: 0, count: PackedPrologue.byteCount, purpose: "the prologue")
    // A damaged version must not look like another one.
    try PackedPrologue.checkChecksum(of: bytes)
    let prologue = try PackedPrologue(parsing: bytes)
    try prologue.checkPlaces()
    return prologue
  }

  private static func faultOfLength(_ byteCount: Int, _ prologue: PackedPrologue) -> PackedFault? {
    let missing = prologue.fileByteCount - byteCount
    if missing < 0 {
      return PackedFault(
        .end, offset: prologue.fileByteCount, byteCount: -missing,
        message: "\(counted(-missing, "byte")) after the end of the file")
    }
    guard missing > 0 else { return nil }
    let records = prologue.headerOffset - byteCount
    let what = records > 0 ? "\(records) bytes of records and the header" : "a part of the header"
    return PackedFault(
      .end, offset: byteCount, byteCount: missing,
      message: "the file is cut off: of \(counted(prologue.fileByteCount, "byte")) it lacks \(what)"
    )
  }

  /// The header's own words, with the tensor that they are about.
  private static func message(of error: ModelError) -> String {
    guard let tensor = error.tensor else { return "\(error.problem)" }
    return "tensor '\(tensor)': \(error.problem)"
  }
}

extension ModelError {
  /// Whether the bytes are wrong, rather than out of reach or of another version.
  fileprivate var isDamage: Bool {
    switch problem {
    case .system, .unsupported, .unsuitable, .outputExists: false
    default: true
    }
  }

  fileprivate var isChecksum: Bool {
    if case .checksumMismatch = problem { true } else { false }
  }
}

/// What lies at a place of a packed file.
///
/// ```swift
/// let faults = try PackedExamination(InputFile(path: "model.condi")).faults
/// let damagedTensors = faults.filter { $0.region == .record }.compactMap(\.tensor)
/// print(damagedTensors)
/// ```
public enum PackedRegion: String, Hashable, Sendable, Codable {
  case prologue, header
  /// Zeros before a record that is aligned.
  case padding
  /// The bytes of a tensor.
  case record
  /// The end of the file: bytes that follow it, or bytes that it lacks.
  case end

  /// A place in a few words: `tensor 'a.weight' at byte 4096`.
  package func place(tensor: String?, offset: Int) -> String {
    let what =
      switch self {
      case .record: tensor.map { "tensor '\($0)'" } ?? "a record"
      case .prologue: "the prologue"
      case .header: "the header"
      case .padding: "padding"
      case .end: "the file's end"
      }
    return "\(what) at byte \(offset)"
  }
}

/// A fault found in a packed file, with its place.
///
/// ```swift
/// for fault in try PackedExamination(InputFile(path: "model.condi")).faults {
///   print("\(fault.place): \(fault.message)")
/// }
/// // tensor 'conv.weight' at byte 7744: expected checksum ead1f1f0, found 0bcd27ba
/// ```
public struct PackedFault: Hashable, Sendable, Codable {
  /// The part of the file that is damaged.
  public let region: PackedRegion
  /// The tensor whose record it is; `nil` for the other regions.
  public let tensor: String?
  /// The first byte in the file of which it is known that it may be wrong. A checksum covers a whole
  /// prologue, header or record, and says no more than which of them.
  public let offset: Int
  /// Bytes from `offset` on that may be wrong; of a file that is too short, those that are missing.
  public let byteCount: Int
  /// What is wrong there: a lower-case sentence.
  public let message: String
  /// Whether a record's checksum is right and only what it says is not: it was written so.
  let hasRightChecksum: Bool

  /// The place in a few words.
  public var place: String { region.place(tensor: tensor, offset: offset) }

  init(
    _ region: PackedRegion, tensor: String? = nil, offset: Int, byteCount: Int, message: String,
    hasRightChecksum: Bool = false
  ) {
    self.region = region
    self.tensor = tensor
    self.offset = offset
    self.byteCount = byteCount
    self.message = message
    self.hasRightChecksum = hasRightChecksum
  }
}
