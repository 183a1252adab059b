import OrderedCollections
import Storage

/// The records of a PyTorch zip file, all in one folder with an arbitrary name.
struct PyTorchRecords {
  let zip: ZipArchive
  /// The folder, with its slash.
  private let folder: String
  /// Whether the storages are big-endian.
  let isBigEndian: Bool
  /// Whether a TorchScript program accompanies the objects.
  let isTorchScript: Bool
  /// The storages' subfolder: `data`, or `constants` in TorchScript.
  private let storageFolder: String
  /// The storages requested so far; their identity shows which tensors share memory.
  private var storages: [StorageKey: TensorStorage] = [:]

  private struct StorageKey: Hashable {
    let key: String
    let swapWidth: Int
  }

  /// A record in which condi-convert keeps metadata that PyTorch has no place for, and PyTorch
  /// ignores.
  static let metadataName = "condi_metadata.json"

  /// Finds the records of an archive.
  ///
  /// - Throws: `ModelError` when there is not exactly one `data.pkl`.
  init(_ zip: ZipArchive) throws {
    self.zip = zip
    let path = zip.file.path
    let pickles = zip.entries.filter { Self.isPickle($0.name) }
    guard pickles.count == 1 else {
      throw ModelError.mismatch(
        expected: "one 'data.pkl' in a folder of the archive", found: "\(pickles.count)",
        path: path)
    }
    let folder = String(pickles[0].name.dropLast("data.pkl".count))
    self.folder = folder
    storageFolder = "data"
    isTorchScript = zip.entries.contains {
      $0.name == "\(folder)constants.pkl" || $0.name.hasPrefix("\(folder)code/")
    }
    if let entry = zip.entry(named: "\(folder)byteorder") {
      let order = String(decoding: try zip.bytes(of: entry).array, as: UTF8.self)
      guard order == "little" || order == "big" else {
        throw ModelError.mismatch(
          expected: "a byte order of 'little' or 'big'", found: "'\(order)'", path: path,
          entry: entry.name)
      }
      isBigEndian = order == "big"
    } else {
      isBigEndian = false
    }
  }

  /// Whether `name` is `data.pkl` in a top-level folder.
  static func isPickle(_ name: String) -> Bool {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    return parts.count == 2 && parts[1] == "data.pkl"
  }

  /// The records of a TorchScript archive's constants, or `nil` if there are none.
  var constants: PyTorchRecords? {
    guard isTorchScript, zip.entry(named: "\(folder)constants.pkl") != nil else { return nil }
    return PyTorchRecords(constantsOf: self)
  }

  private init(constantsOf records: PyTorchRecords) {
    zip = records.zip
    folder = records.folder
    isBigEndian = records.isBigEndian
    isTorchScript = true
    storageFolder = "constants"
  }

  /// The number of files in a TorchScript archive's program.
  var codeFileCount: Int {
    zip.entries.count { $0.name.hasPrefix("\(folder)code/") && $0.name.hasSuffix(".py") }
  }

  /// Returns the object graph of `data.pkl` or `constants.pkl`.
  func graph() throws -> PickleGraph {
    let name = "\(folder)\(storageFolder).pkl"
    guard let entry = zip.entry(named: name) else {
      throw ModelError.malformed("'\(storageFolder).pkl' is missing", path: zip.file.path)
    }
    guard entry.byteCount <= PickleMachine.byteLimit else {
      throw ModelError(
        .limitExceeded(
          what: "a pickle's bytes", limit: PickleMachine.byteLimit, found: "\(entry.byteCount)"),
        path: zip.file.path, entry: entry.name)
    }
    return try locatingErrors(path: zip.file.path, entry: entry.name) {
      let baseOffset = entry.method == .stored ? entry.dataOffset : 0
      var reader = ByteReader(try zip.bytes(of: entry), baseOffset: baseOffset)
      let graph = try PickleMachine.read(from: &reader)
      guard reader.isAtEnd else {
        throw ModelError.malformed(
          "\(counted(reader.remaining, "byte")) after the pickle", offset: reader.fileOffset)
      }
      return graph
    }
  }

  /// Returns the storage `data/<key>` or `constants/<key>`, which must have exactly `byteCount`
  /// bytes.
  ///
  /// - Parameter elementType: determines the units that are swapped in a big-endian file.
  mutating func storage(
    _ key: String, byteCount: Int, elementType: ElementType
  ) throws -> TensorStorage {
    let name = "\(folder)\(storageFolder)/\(key)"
    guard let entry = zip.entry(named: name) else {
      throw ModelError.malformed("the archive has no entry '\(name)'")
    }
    try zip.checkReadable(entry)
    guard entry.byteCount == byteCount else {
      throw ModelError.mismatch(
        expected: "\(counted(byteCount, "byte")) in '\(name)'", found: "\(entry.byteCount)",
        offset: entry.dataOffset)
    }
    let swapWidth = isBigEndian ? elementType.byteSwapWidth : 1
    let storageKey = StorageKey(key: key, swapWidth: swapWidth)
    if let storage = storages[storageKey] { return storage }
    guard byteCount.isMultiple(of: swapWidth) else {
      throw ModelError.mismatch(
        expected: "a multiple of \(swapWidth) bytes in '\(name)'", found: "\(byteCount)",
        offset: entry.dataOffset)
    }
    let zip = zip
    let storage = TensorStorage(byteCount: byteCount) {
      let bytes = try zip.bytes(of: entry)
      return swapWidth == 1 ? bytes : bytes.reversingUnits(of: swapWidth)
    }
    storages[storageKey] = storage
    return storage
  }

  /// Returns the metadata of another format that condi-convert kept.
  func metadata() throws -> OrderedDictionary<String, String> {
    guard let entry = zip.entry(named: "\(folder)\(Self.metadataName)") else { return [:] }
    return try locatingErrors(path: zip.file.path, entry: entry.name) {
      let value = try JSONDocument.parse(try zip.bytes(of: entry), maximumDepth: 2)
      guard case .object(let members) = value else {
        throw ModelError.malformed("the metadata is not a JSON object")
      }
      return try members.mapValues { member in
        guard case .string(let text) = member else {
          throw ModelError.malformed("the metadata holds something other than text")
        }
        return text
      }
    }
  }
}

extension SharedBytes {
  /// Returns the bytes with the order inside each unit of `width` bytes reversed.
  fileprivate func reversingUnits(of width: Int) -> SharedBytes {
    SharedBytes(count: count) { output in
      withUnsafeBytes { input in
        for start in stride(from: 0, to: count, by: width) {
          for position in 0..<width {
            output[start + position] = input[start + width - 1 - position]
          }
        }
      }
    }
  }
}
