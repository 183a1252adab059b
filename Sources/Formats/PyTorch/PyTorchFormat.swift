import Storage

/// PyTorch checkpoints: the zip archives that `torch.save` has written since version 1.6, its
/// earlier formats, TorchScript archives, and bare pickles of arrays.
///
/// Pickles are read as data: globals known to be dangerous are rejected, objects of unknown classes
/// are read as the plain data they hold, and nothing in a file is ever executed.
///
/// ```swift
/// let archive = try PyTorchFormat().read(InputFile(path: "checkpoint.pth"))
/// print(archive.tensors.count)
/// if let epoch = archive.values["epoch"] { print("epoch \(epoch)") }
/// ```
public struct PyTorchFormat: ModelFormat {
  public init() {}

  public var identifier: FormatIdentifier {
    FormatIdentifier(
      name: "pytorch", displayName: "PyTorch", fileExtensions: ["pth", "pt", "ckpt", "bin"])
  }

  private static let zipSignature: [UInt8] = [0x50, 0x4B, 0x03, 0x04]

  /// The forms that a checkpoint can have.
  enum Form {
    case zip
    /// Several pickles and the storages in one stream.
    case stream
    case tar
    /// One pickle and nothing else.
    case pickle
  }

  public func recognizes(_ file: InputFile) -> Bool {
    guard !DistributedCheckpointFormat.isIndex(file) else { return false }
    guard Self.startsAsZip(file) else { return Self.form(of: file) != nil }
    if let directory = try? file.zipDirectory() {
      return directory.entries.contains { PyTorchRecords.isPickle($0.name) }
    }
    // A damaged archive: torch's first entry is the pickle.
    return Self.firstName(in: file).map(PyTorchRecords.isPickle) ?? false
  }

  public func read(_ file: InputFile) throws -> TensorArchive {
    switch Self.form(of: file) {
    case .zip: return try readZip(file)
    case .stream:
      return try read(file) { load in
        let stream = try PyTorchLegacyStream(
          parsing: ByteReader(try load(0..<file.byteCount)), load: load)
        return (stream.graph, stream)
      }
    case .tar:
      return try read(file) { load in
        let directory = try TarDirectory(byteCount: file.byteCount) {
          try file.bytes(at: $0, count: $1, purpose: $2)
        }
        let checkpoint = try PyTorchTarCheckpoint(directory, load: load)
        return (checkpoint.graph, checkpoint)
      }
    case .pickle:
      return try read(file) { load in
        var reader = ByteReader(try load(0..<file.byteCount))
        let graph = try PickleMachine.read(from: &reader, byteLimit: .max)
        guard reader.isAtEnd else {
          throw ModelError.malformed(
            "\(counted(reader.remaining, "byte")) after the pickle", offset: reader.fileOffset)
        }
        return (graph, PyTorchNoStorages())
      }
    case nil:
      throw ModelError.malformed(
        "neither a zip archive nor a pickle", path: file.path, offset: 0)
    }
  }

  private func readZip(_ file: InputFile) throws -> TensorArchive {
    let records = try PyTorchRecords(ZipArchive(file))
    let metadata = try records.metadata()
    return try locatingErrors(path: file.path) {
      var reader = PyTorchObjectReader(graph: try records.graph(), storages: records)
      var archive = try reader.read()
      if records.isTorchScript {
        if let constants = records.constants {
          var reader = PyTorchObjectReader(graph: try constants.graph(), storages: constants)
          try archive.add(constants: try reader.readConstants())
        }
        archive.notes.append(
          "the program of this TorchScript archive (\(counted(records.codeFileCount, "file"))) is not read"
        )
      }
      archive.format = identifier
      archive.metadata = metadata
      return archive
    }
  }

  /// - Parameter open: returns the objects and the source of their storages.
  private func read(
    _ file: InputFile,
    open: (_ load: @escaping @Sendable (Range<Int>) throws -> SharedBytes) throws -> (
      PickleGraph, any PyTorchStorageSource
    )
  ) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let (graph, storages) = try open { range in
        try file.bytes(at: range.lowerBound, count: range.count, purpose: "a checkpoint")
      }
      var reader = PyTorchObjectReader(graph: graph, storages: storages)
      var archive = try reader.read()
      archive.format = identifier
      return archive
    }
  }

  public func plan(
    _ archive: TensorArchive, runningTasks run: TaskRunner
  ) throws -> PlannedFile<Never> {
    try PyTorchArchiveWriter(archive).plan()
  }

  static func form(of file: InputFile) -> Form? {
    if startsAsZip(file) { return .zip }
    let headByteCount = min(file.byteCount, PyTorchLegacyStream.signatureByteCount)
    if let head = try? file.bytes(at: 0, count: headByteCount, purpose: "the signature"),
      PyTorchLegacyStream.isBeginning(head)
    {
      return .stream
    }
    if let block = try? file.bytes(at: 0, count: 512, purpose: "a tar header").array,
      TarDirectory.isHeader(block),
      let name = String(validating: block.prefix { $0 != 0 }, as: UTF8.self),
      PyTorchTarCheckpoint.memberNames.contains(name) || name.hasPrefix("./PaxHeaders")
    {
      return .tar
    }
    return isPickle(file) ? .pickle : nil
  }

  /// Whether the file is a pickle. From protocol 2 on, the first opcode tells, because it has no
  /// other use; earlier pickles are followed to their end.
  private static func isPickle(_ file: InputFile) -> Bool {
    guard file.byteCount >= 2,
      let head = try? file.bytes(at: 0, count: 2, purpose: "a pickle").array
    else { return false }
    if head[0] == PickleOpcode.proto.rawValue { return (2...5).contains(head[1]) }
    guard file.byteCount <= PickleMachine.byteLimit, PickleOpcode(rawValue: head[0]) != nil,
      let last = try? file.bytes(at: file.byteCount - 1, count: 1, purpose: "a pickle").array,
      last[0] == PickleOpcode.stop.rawValue,
      let bytes = try? file.bytes(at: 0, count: file.byteCount, purpose: "a pickle")
    else { return false }
    var reader = ByteReader(bytes)
    return PickleMachine.record(from: &reader).problem == nil && reader.isAtEnd
  }

  private static func startsAsZip(_ file: InputFile) -> Bool { starts(file, with: zipSignature) }

  private static func starts(_ file: InputFile, with signature: [UInt8]) -> Bool {
    guard file.byteCount >= signature.count else { return false }
    let head = try? file.bytes(at: 0, count: signature.count, purpose: "the signature")
    return head?.array == signature
  }

  /// Returns the name in the first local header.
  private static func firstName(in file: InputFile) -> String? {
    guard let head = try? file.bytes(at: 26, count: 2, purpose: "the name's length").array,
      let name = try? file.bytes(
        at: 30, count: Int(head[0]) | Int(head[1]) << 8, purpose: "the first entry's name")
    else { return nil }
    return String(validating: name.array, as: UTF8.self)
  }
}

/// Remarks of a reader to the user, in the order in which they came up.
struct PyTorchNotes: Sendable {
  private var opaqueCounts: [(className: String, count: Int)] = []
  private var indices: [String: Int] = [:]
  private var others: [String] = []

  /// Classes and other remarks beyond this many are only counted.
  private static let limit = 20

  /// Notes that an object of an unknown class was read as plain data.
  mutating func addOpaque(_ className: String) {
    if let index = indices[className] {
      opaqueCounts[index].count += 1
    } else {
      indices[className] = opaqueCounts.count
      opaqueCounts.append((className, 1))
    }
  }

  /// Notes that the object at `name` is one that contains it and was not followed.
  mutating func addCycle(_ name: String) {
    add("'\(name)' refers back to an object that contains it; it is left empty")
  }

  mutating func add(_ sentence: String) {
    guard !others.contains(sentence) else { return }
    others.append(sentence)
  }

  var sentences: [String] {
    let opaque = opaqueCounts.map { className, count in
      "treated \(counted(count, "object")) of class '\(className)' as plain data"
    }
    return Self.limited(opaque, "class", " of objects treated as plain data")
      + Self.limited(others, "remark")
  }

  private static func limited(
    _ sentences: [String], _ noun: String, _ end: String = ""
  ) -> [String] {
    guard sentences.count > limit else { return sentences }
    return sentences.prefix(limit) + [
      "and \(counted(sentences.count - limit, "other \(noun)"))\(end)"
    ]
  }
}
