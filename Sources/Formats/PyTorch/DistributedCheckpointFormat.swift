import OrderedCollections
import Storage

/// Distributed checkpoints of PyTorch (DCP): a folder with an index, the file `.metadata`, and the
/// pieces of tensors in `.distcp` files; `DistributedCheckpoint.md` has the layout.
///
/// The index is a pickle of PyTorch's own classes, of which the fields are read as data. A tensor is
/// put together from its pieces when it is loaded.
package struct DistributedCheckpointFormat: ReadOnlyModelFormat {
  /// The name of the index.
  static let indexName = ".metadata"
  private static let module = "torch.distributed.checkpoint"

  package init() {}

  package var identifier: FormatIdentifier {
    FormatIdentifier(
      name: "dcp", displayName: "distributed PyTorch checkpoint", fileExtensions: [])
  }

  package func recognizes(_ file: InputFile) -> Bool { Self.isIndex(file) }

  /// Whether a file is a pickle that begins with the class of an index.
  static func isIndex(_ file: InputFile) -> Bool {
    guard
      let head = try? file.bytes(
        at: 0, count: min(256, file.byteCount), purpose: "the signature"),
      head.array.first == PickleOpcode.proto.rawValue
    else { return false }
    return head.firstRange(of: "\(module).metadata") != nil
  }

  /// Reads the index, and the objects that are not tensors.
  package func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      var reader = ByteReader(
        try file.bytes(at: 0, count: file.byteCount, purpose: "the index"))
      let index = try DistributedCheckpointIndex(try PickleMachine.read(from: &reader))
      let siblings = SiblingFiles(beside: file)
      let names = Set(index.entries.values.flatMap(\.pieces).map(\.place.file)).sortedByBytes()
      let missing = try names.filter { try !siblings.exists($0) }
      guard missing.isEmpty else {
        throw ModelError.malformed(
          "\(missing.count) of \(counted(names.count, "file")) are missing: \(missing.quotedList())"
        )
      }
      let files = try Dictionary(
        uniqueKeysWithValues: names.map { ($0, try siblings.open($0)) })
      var archive = TensorArchive(format: identifier)
      for (name, entry) in index.entries {
        try locatingErrors(tensor: name) {
          try entry.check(in: files)
          try archive.add(entry, named: name, files)
        }
      }
      archive.sourceFiles = try [file.path] + names.map(siblings.path)
      return archive
    }
  }
}

extension TensorArchive {
  fileprivate mutating func add(
    _ entry: DistributedCheckpointIndex.Entry, named name: String, _ files: [String: InputFile]
  ) throws {
    if let obstacle = entry.obstacle {
      unread.append(UnreadEntry(name: name, kind: entry.kind, reason: obstacle))
      return
    }
    guard let assembled = entry.tensor else {
      return try add(object: entry.pieces[0].place, named: name, files)
    }
    let pieces = entry.pieces
    tensors[name] = try Tensor(elementType: assembled.elementType, shape: assembled.shape) {
      try assembled.bytes(of: pieces) { piece in
        let tensor = try piece.place.tensor(in: files)
        guard tensor.elementType == assembled.elementType, tensor.shape == piece.shape else {
          throw ModelError.mismatch(
            expected: "\(assembled.elementType) \(piece.shape) in '\(piece.place.file)'",
            found: "\(tensor.elementType) \(tensor.shape)", offset: piece.place.offset)
        }
        return try tensor.bytes()
      }
    }
    let places = Set(pieces.map(\.place.file))
    if places.count == 1, let file = places.first { fileOfTensor[name] = files[file]?.path }
  }

  /// Adds an object that is saved on its own, such as a step count.
  private mutating func add(
    object place: DistributedCheckpointIndex.Place, named name: String, _ files: [String: InputFile]
  ) throws {
    do {
      let records = try PyTorchRecords(ZipArchive(place.open(in: files)))
      var reader = PyTorchObjectReader(graph: try records.graph(), storages: records)
      let found = try reader.read(named: name)
      guard found.tensors.keys.allSatisfy({ tensors[$0] == nil }),
        found.values.keys.allSatisfy({ values[$0] == nil })
      else { throw ModelError.malformed("two entries of the checkpoint have this name") }
      tensors.merge(found.tensors) { old, _ in old }
      values.merge(found.values) { old, _ in old }
      unread += found.unread
      notes += found.notes.map { "\(name): \($0)" }
    } catch let error as ModelError {
      unread.append(UnreadEntry(name: name, kind: "object", reason: "\(error.problem)"))
    }
  }
}

/// The content of a distributed checkpoint's index.
struct DistributedCheckpointIndex {
  /// The location of something that `torch.save` wrote into a larger file.
  struct Place: Hashable, Sendable {
    let file: String
    let offset: Int
    let byteCount: Int

    /// Checks that the file is long enough.
    func check(in files: [String: InputFile]) throws {
      let available = max(0, (files[file]?.byteCount ?? 0) - offset)
      guard byteCount <= available else {
        throw ModelError(
          .truncated(
            expectedBytes: byteCount, foundBytes: available,
            purpose: "a piece in '\(file)' from byte \(offset) on"))
      }
    }

    /// Returns the piece as a file of its own.
    func open(in files: [String: InputFile]) throws -> InputFile {
      guard let file = files[file] else { throw ModelError.malformed("no file '\(file)'") }
      return InputFile(
        try file.bytes(at: offset, count: byteCount, purpose: "a piece"), path: file.path)
    }

    /// Returns the only tensor of the piece.
    func tensor(in files: [String: InputFile]) throws -> Tensor {
      let archive = try PyTorchFormat().read(open(in: files))
      guard archive.tensors.count == 1, let tensor = archive.tensors.values.first else {
        throw ModelError.mismatch(
          expected: "one tensor in '\(file)' from byte \(offset) on",
          found: "\(archive.tensors.count)")
      }
      return tensor
    }
  }

  /// A box of a tensor's elements, or a whole object.
  struct Piece: Hashable, Sendable {
    /// The position of the first element along each axis.
    let offsets: [Int]
    let shape: Shape
    let place: Place
  }

  struct Entry: Sendable {
    /// The description in the words of the index.
    let kind: String
    /// `nil` for objects that are not tensors.
    let tensor: DistributedTensor?
    let pieces: [Piece]
    /// The reason why the entry cannot be read.
    let obstacle: String?

    /// Checks that the files hold the pieces: each is at least as long as its elements, so that no
    /// index makes little data a large tensor.
    func check(in files: [String: InputFile]) throws {
      for piece in pieces { try piece.place.check(in: files) }
      guard let tensor else { return }
      let width = tensor.elementType.bitWidth / 8
      var end: [String: Int] = [:]
      for piece in pieces.sorted(by: { $0.place.offset < $1.place.offset }) {
        let place = piece.place
        guard piece.shape.elementCount <= place.byteCount / width else {
          throw ModelError.mismatch(
            expected: "\(piece.shape.elementCount) elements in '\(place.file)'",
            found: "\(counted(place.byteCount, "byte"))", offset: place.offset)
        }
        guard end[place.file, default: 0] <= place.offset || piece.shape.elementCount == 0 else {
          throw ModelError.malformed(
            "its pieces overlap in '\(place.file)'", offset: place.offset)
        }
        end[place.file] = place.offset + place.byteCount
      }
    }
  }

  /// Every entry by its name, in the order of the index.
  private(set) var entries: OrderedDictionary<String, Entry> = [:]

  private let graph: PickleGraph

  /// The key of a piece: its tensor, and its offsets; no offsets for objects.
  private struct Key: Hashable {
    let name: String
    let offsets: [Int]?
  }

  /// Reads the objects of the index.
  ///
  /// - Throws: `ModelError` when they are not those of PyTorch's classes, or pieces do not make up
  ///   their tensors.
  init(_ graph: PickleGraph) throws {
    self.graph = graph
    let index = try fields(of: graph.root, "Metadata")
    var places: [Key: (place: Place, isTransformed: Bool)] = [:]
    for item in try items(index["storage_data"], "storage_data") {
      let key = try fields(of: item.key, "MetadataIndex")
      let info = try fields(of: item.value, "_StorageInfo")
      guard let name = text(key["fqn"]), let file = text(info["relative_path"]),
        let offset = count(info["offset"]), let byteCount = count(info["length"])
      else { throw ModelError.malformed("the index has a place without file, offset or length") }
      let offsets = try key["offset"].flatMap { isNone($0) ? nil : try counts($0) }
      let place = Place(file: file, offset: offset, byteCount: byteCount)
      guard
        places.updateValue(
          (place, !isEmpty(info["transform_descriptors"])),
          forKey: Key(name: name, offsets: offsets)) == nil
      else { throw ModelError.malformed("the index has two places of one piece", tensor: name) }
    }
    for item in try items(index["state_dict_metadata"], "state_dict_metadata") {
      guard let name = text(item.key) else {
        throw ModelError.malformed("the index has a name that is not text")
      }
      entries[name] = try locatingErrors(tensor: name) {
        try entry(item.value) { offsets in
          guard let found = places[Key(name: name, offsets: offsets)] else {
            throw ModelError.malformed(
              "the index has no place for the piece at \(offsets.map { "\($0)" } ?? "the object")")
          }
          return found
        }
      }
    }
  }

  private func entry(
    _ reference: PickleGraph.Reference,
    place: ([Int]?) throws -> (place: Place, isTransformed: Bool)
  ) throws -> Entry {
    let transformed = "it is stored with transforms, such as compression, which are not undone"
    if name(ofClass: reference) == "BytesStorageMetadata" {
      let found = try place(nil)
      return Entry(
        kind: "object", tensor: nil,
        pieces: [Piece(offsets: [], shape: .scalar, place: found.place)],
        obstacle: found.isTransformed ? transformed : nil)
    }
    let fields = try fields(of: reference, "TensorStorageMetadata")
    guard let dimensions = try fields["size"].map(counts), let shape = Shape(dimensions),
      let chunks = fields["chunks"].flatMap(sequence)
    else { throw ModelError.malformed("the index has a tensor without size or pieces") }
    let (dtype, isStrided) = try properties(fields["properties"])
    var isTransformed = false
    let pieces = try chunks.map { chunk in
      let chunk = try self.fields(of: chunk, "ChunkStorageMetadata")
      guard let offsets = try chunk["offsets"].map(counts),
        let sizes = try chunk["sizes"].map(counts), let shape = Shape(sizes)
      else { throw ModelError.malformed("the index has a piece without offsets or sizes") }
      let found = try place(offsets)
      isTransformed = isTransformed || found.isTransformed
      return Piece(offsets: offsets, shape: shape, place: found.place)
    }
    let kind = "\(dtype) \(shape)"
    func left(_ reason: String) -> Entry {
      Entry(kind: kind, tensor: nil, pieces: pieces, obstacle: reason)
    }
    guard let elementType = PyTorchTypes.elementType(ofDtype: dtype), elementType.byteWidth != nil
    else { return left("elements of type \(dtype) cannot be read") }
    guard isStrided else { return left("sparse tensors are not read") }
    guard !isTransformed else { return left(transformed) }
    let tensor = DistributedTensor(elementType: elementType, shape: shape)
    try tensor.check(pieces)
    return Entry(kind: kind, tensor: tensor, pieces: pieces, obstacle: nil)
  }

  /// Returns dtype and layout of `TensorProperties`, whose state is a tuple that begins with them.
  private func properties(_ reference: PickleGraph.Reference?) throws -> (String, Bool) {
    guard let reference, case .object(let object) = node(reference), let state = object.state,
      let members = sequence(state), members.count >= 2, case .global(let dtype) = node(members[0])
    else { throw ModelError.malformed("the index has a tensor without properties") }
    guard case .object(let layout) = node(members[1]),
      let arguments = sequence(layout.arguments), let argument = arguments.first
    else { return (dtype, true) }
    return (dtype, text(argument) == "torch.strided")
  }

  // MARK: Objects of the pickle

  private func node(_ reference: PickleGraph.Reference) -> PickleGraph.Node {
    graph.nodes[reference]
  }

  /// The last part of the name of an object's class.
  private func name(ofClass reference: PickleGraph.Reference) -> String? {
    guard case .object(let object) = node(reference), case .global(let name) = node(object.callee)
    else { return nil }
    return name.split(separator: ".").last.map(String.init)
  }

  /// Returns the attributes of an object of the class `name`.
  private func fields(
    of reference: PickleGraph.Reference, _ name: String
  ) throws -> [String: PickleGraph.Reference] {
    guard self.name(ofClass: reference) == name, case .object(let object) = node(reference),
      let state = object.state, case .dictionary(let items) = node(state)
    else {
      throw ModelError.mismatch(
        expected: "an object of the class '\(name)'",
        found: self.name(ofClass: reference).map { "'\($0)'" } ?? "something else",
        offset: graph.positions[reference])
    }
    return items.reduce(into: [:]) { fields, item in
      if let key = text(item.key) { fields[key] = item.value }
    }
  }

  private func items(
    _ reference: PickleGraph.Reference?, _ name: String
  ) throws -> [PickleGraph.Item] {
    guard let reference, case .dictionary(let items) = node(reference) else {
      throw ModelError.malformed("the index has no dictionary '\(name)'")
    }
    return items
  }

  /// Returns the members of a tuple, a list, or a `torch.Size`.
  private func sequence(_ reference: PickleGraph.Reference) -> [PickleGraph.Reference]? {
    switch node(reference) {
    case .tuple(let members), .list(let members): return members
    case .object(let object):
      guard name(ofClass: reference) == "Size", case .tuple(let arguments) = node(object.arguments),
        let first = arguments.first
      else { return nil }
      if case .tuple(let members) = node(first) { return members }
      return nil
    default: return nil
    }
  }

  private func counts(_ reference: PickleGraph.Reference) throws -> [Int] {
    guard let members = sequence(reference) else {
      throw ModelError.malformed("the index has sizes that are not a tuple")
    }
    return try members.map { member in
      guard let number = count(member) else {
        throw ModelError.malformed("the index has a size that is not a count")
      }
      return number
    }
  }

  private func count(_ reference: PickleGraph.Reference?) -> Int? {
    guard let reference, case .integer(let value) = node(reference), value >= 0 else { return nil }
    return value
  }

  private func text(_ reference: PickleGraph.Reference?) -> String? {
    guard let reference, case .text(let text) = node(reference) else { return nil }
    return text
  }

  private func isNone(_ reference: PickleGraph.Reference) -> Bool {
    if case .none = node(reference) { return true }
    return false
  }

  private func isEmpty(_ reference: PickleGraph.Reference?) -> Bool {
    guard let reference, !isNone(reference) else { return true }
    return sequence(reference)?.isEmpty ?? false
  }
}

/// A tensor that is stored in several boxes.
struct DistributedTensor: Sendable {
  let elementType: ElementType
  let shape: Shape

  /// Checks that pieces cover every element exactly once.
  func check(_ pieces: [DistributedCheckpointIndex.Piece]) throws {
    var elementCount = 0
    for piece in pieces {
      let fits =
        piece.offsets.count == shape.rank && piece.shape.rank == shape.rank
        && zip(shape.dimensions, zip(piece.offsets, piece.shape.dimensions)).allSatisfy {
          $1.0 <= $0 && $1.1 <= $0 - $1.0
        }
      let (sum, overflow) = elementCount.addingReportingOverflow(piece.shape.elementCount)
      guard fits, !overflow else {
        throw ModelError.mismatch(
          expected: "pieces inside \(shape)", found: "\(piece.shape) at \(piece.offsets)")
      }
      elementCount = sum
    }
    guard elementCount == shape.elementCount else {
      throw ModelError.mismatch(
        expected: "pieces of \(counted(shape.elementCount, "element"))", found: "\(elementCount)")
    }
    // As many elements as the tensor has, none of them twice, are all of them.
    let sorted = pieces.filter { $0.shape.elementCount > 0 }.sorted {
      $0.offsets.lexicographicallyPrecedes($1.offsets)
    }
    guard shape.rank > 0 else { return }
    for (index, piece) in sorted.enumerated() {
      let end = piece.offsets[0] + piece.shape.dimensions[0]
      for other in sorted[(index + 1)...] {
        guard other.offsets[0] < end else { break }
        let overlaps = (0..<shape.rank).allSatisfy { axis in
          other.offsets[axis] < piece.offsets[axis] + piece.shape.dimensions[axis]
            && piece.offsets[axis] < other.offsets[axis] + other.shape.dimensions[axis]
        }
        if overlaps {
          throw ModelError.malformed(
            "its pieces at \(piece.offsets) and \(other.offsets) overlap")
        }
      }
    }
  }

  /// Returns the contiguous elements.
  ///
  /// - Parameter load: returns the contiguous elements of a piece.
  func bytes(
    of pieces: [DistributedCheckpointIndex.Piece],
    load: (DistributedCheckpointIndex.Piece) throws -> SharedBytes
  ) throws -> SharedBytes {
    if pieces.count == 1 { return try load(pieces[0]) }
    let width = elementType.bitWidth / 8
    let strides = shape.rowMajorStrides
    return try SharedBytes(count: shape.elementCount * width) { output in
      for piece in pieces where piece.shape.elementCount > 0 {
        let bytes = try load(piece)
        let run = (piece.shape.dimensions.last ?? 1) * width
        var position = [Int](repeating: 0, count: max(0, shape.rank - 1))
        bytes.withUnsafeBytes { input in
          for start in stride(from: 0, to: input.count, by: run) {
            var element = piece.offsets.last ?? 0
            for axis in position.indices {
              element += (piece.offsets[axis] + position[axis]) * strides[axis]
            }
            output.copy(
              UnsafeRawBufferPointer(rebasing: input[start..<start + run]), at: element * width)
            for axis in position.indices.reversed() {
              position[axis] += 1
              if position[axis] < piece.shape.dimensions[axis] { break }
              position[axis] = 0
            }
          }
        }
      }
    }
  }
}
