import Storage

/// A single NumPy array, `.npy`.
///
/// The format has no names: the array's name is empty, like that of any tensor that is a file's
/// whole content. The content of an array of objects, usually a dictionary of arrays, has its own
/// names; its pickle is read as data and never executed. An archive can be written if it is exactly
/// one tensor of a type that NumPy has; the tensor's name is not kept.
///
/// ```swift
/// let archive = try NPYFormat().read(InputFile(path: "features.npy"))
/// if let array = archive.tensors[""] { print(array.shape, try array.doubleValues()) }
/// ```
public struct NPYFormat: ModelFormat {
  public init() {}

  public var identifier: FormatIdentifier {
    FormatIdentifier(name: "npy", displayName: "NumPy array", fileExtensions: ["npy"])
  }

  public func recognizes(_ file: InputFile) -> Bool {
    let magic = NPYHeader.magic
    let head = try? file.bytes(at: 0, count: magic.count, purpose: "the signature").array
    return head == magic
  }

  public func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      if let archive = try readObjects(file) { return archive }
      let header = try NPYHeader(byteCount: file.byteCount) {
        try file.bytes(at: $0, count: $1, purpose: $2)
      }
      let array = NPYArray(header: header, path: file.path) {
        try file.bytes(at: 0, count: file.byteCount, purpose: "the array")
      }
      var archive = TensorArchive(format: identifier)
      let structure = try archive.add(array, named: "")
      if case .leaf = structure { return archive }
      archive.structure = structure
      return archive
    }
  }

  /// Reads the content of an array of objects, such as a dictionary of arrays; returns `nil` for
  /// any other array.
  private func readObjects(_ file: InputFile) throws -> TensorArchive? {
    let headByteCount = min(file.byteCount, NPYHeader.headByteLimit)
    let head = try file.bytes(at: 0, count: headByteCount, purpose: "the NumPy header")
    guard let start = NPYHeader.objectsOffset(in: head) else { return nil }
    var archive = TensorArchive(format: identifier)
    let pickle = try file.bytes(
      at: start, count: file.byteCount - start, purpose: "a NumPy array of objects")
    archive.structure = try archive.add(objects: pickle, named: "")
    return archive
  }

  public func plan(
    _ archive: TensorArchive, runningTasks run: TaskRunner
  ) throws -> PlannedFile<Never> {
    guard archive.tensors.count == 1, let (name, tensor) = archive.tensors.elements.first else {
      throw ModelError.unsupported(
        "a .npy file holds exactly one tensor, not \(archive.tensors.count); .npz holds several")
    }
    guard archive.values.isEmpty, archive.metadata.isEmpty else {
      throw ModelError.unsupported(
        "a .npy file holds one tensor and no values or metadata; .npz holds them")
    }
    guard NPYElement.isNative(tensor.elementType) else {
      throw ModelError.unsupported(
        "NumPy has no element type for \(tensor.elementType); .npz keeps it", tensor: name)
    }
    let header = SharedBytes(
      try NPYHeader.encode(
        descriptor: NPYElement.descriptor(of: tensor.elementType), shape: tensor.shape))
    let record = PlannedRecord<Never>(
      name: name, names: [name], offset: header.count, byteCount: tensor.byteCount,
      sourceByteCount: tensor.byteCount
    ) { MadeRecord(try tensor.bytes()) }
    return PlannedFile([record]) { _ in [FilePiece(offset: 0, bytes: header)] }
  }
}

extension TensorArchive {
  /// Adds an array under `name`: numbers and raw bytes as a tensor, texts as values.
  ///
  /// An array of texts with axes becomes one value per item, named by its indices (`names.0.2`),
  /// inside nested lists.
  ///
  /// - Returns: the places of the tensor or the values.
  mutating func add(_ array: NPYArray, named name: String) throws -> ArchiveStructure {
    guard array.holdsTexts else {
      tensors[name] = try array.tensor()
      return .leaf(name)
    }
    var texts = try array.texts()[...]
    return try addTexts(&texts, dimensions: array.header.shape.dimensions[...], named: name)
  }

  /// Adds the content of an array of objects, which is one pickle.
  ///
  /// - Throws: `ModelError` when the pickle cannot be read as data.
  mutating func add(objects pickle: SharedBytes, named name: String) throws -> ArchiveStructure {
    var reader = ByteReader(pickle)
    let graph = try PickleMachine.read(from: &reader, byteLimit: .max)
    guard reader.isAtEnd else {
      throw ModelError.malformed("\(counted(reader.remaining, "byte")) after the pickle")
    }
    var objects = PyTorchObjectReader(graph: graph, storages: PyTorchNoStorages())
    let content = try objects.read(named: name)
    for (name, tensor) in content.tensors {
      guard values[name] == nil, tensors.updateValue(tensor, forKey: name) == nil else {
        throw ModelError.malformed("two arrays have this name", tensor: name)
      }
    }
    for (name, value) in content.values {
      guard tensors[name] == nil, values.updateValue(value, forKey: name) == nil else {
        throw ModelError.malformed("two values have this name", tensor: name)
      }
    }
    notes += content.notes.filter { !notes.contains($0) }
    unread += content.unread
    return content.structure ?? .dictionary([], isOrdered: false)
  }

  private mutating func addTexts(
    _ texts: inout ArraySlice<ArchiveValue>, dimensions: ArraySlice<Int>, named name: String
  ) throws -> ArchiveStructure {
    guard let dimension = dimensions.first else {
      guard values[name] == nil else {
        throw ModelError.malformed("two values have this name", tensor: name)
      }
      values[name] = texts.popFirst()
      return .leaf(name)
    }
    guard !texts.isEmpty else { return .list([]) }
    return .list(
      try (0..<dimension).map { index in
        try addTexts(
          &texts, dimensions: dimensions.dropFirst(),
          named: ArchiveStructure.join(name, "\(index)"))
      })
  }
}
