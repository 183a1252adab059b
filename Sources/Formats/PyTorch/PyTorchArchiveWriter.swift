import OrderedCollections
import Storage

/// Plans a checkpoint in the layout of `torch.save`.
struct PyTorchArchiveWriter {
  private let archive: TensorArchive
  private let storagePlan: PyTorchStoragePlan
  private let pickle: [UInt8]

  /// The name that torch gives the folder when it does not save to a path. The output's own name is
  /// not used, because the bytes would then depend on it.
  private static let folder = "archive"
  private static let alignment = 64

  /// - Throws: `ModelError` when PyTorch cannot represent the archive.
  init(_ archive: TensorArchive) throws {
    self.archive = archive
    let structure = try Self.structure(of: archive)
    var tensors: [(name: String, tensor: Tensor)] = []
    for name in structure.leafNames {
      if let tensor = archive.tensors[name] { tensors.append((name, tensor)) }
    }
    storagePlan = PyTorchStoragePlan(tensors)
    var writer = PickleWriter()
    try Self.write(structure, of: archive, storagePlan, to: &writer)
    pickle = writer.finish()
  }

  /// Returns the archive's own structure, which must hold every name once, or else a flat
  /// dictionary.
  private static func structure(of archive: TensorArchive) throws -> ArchiveStructure {
    if let both = archive.values.keys.first(where: { archive.tensors[$0] != nil }) {
      throw ModelError.malformed("a tensor and a value have the same name", tensor: both)
    }
    let names = Array(archive.tensors.keys) + Array(archive.values.keys)
    guard let structure = archive.structure else {
      return .dictionary(
        names.map { ArchiveStructure.Entry(key: .text($0), value: .leaf($0)) }, isOrdered: true)
    }
    var placed: Set<String> = []
    for name in structure.leafNames {
      guard archive.tensors[name] != nil || archive.values[name] != nil else {
        throw ModelError.malformed("the structure names something that is missing", tensor: name)
      }
      guard placed.insert(name).inserted else {
        throw ModelError.malformed("the structure holds this name twice", tensor: name)
      }
    }
    if let stray = names.first(where: { !placed.contains($0) }) {
      throw ModelError.malformed("it has no place in the checkpoint's structure", tensor: stray)
    }
    return structure
  }

  // MARK: Records

  func plan() -> PlannedFile<Never> {
    var zip = ZipWriter()
    var names: [String] = []
    func add(
      _ name: String, tensors: [String] = [], sourceByteCount: Int = 0, byteCount: Int,
      _ content: @escaping @Sendable () throws -> SharedBytes
    ) {
      names.append(name)
      zip.add(
        "\(Self.folder)/\(name)", tensors: tensors, sourceByteCount: sourceByteCount,
        byteCount: byteCount, alignment: Self.alignment, content: content)
    }
    func add(_ name: String, _ bytes: [UInt8]) {
      let bytes = SharedBytes(bytes)
      add(name, byteCount: bytes.count) { bytes }
    }
    add("data.pkl", pickle)
    add(".format_version", Array("1".utf8))
    add(".storage_alignment", Array("\(Self.alignment)".utf8))
    add("byteorder", Array("little".utf8))
    for (index, storage) in storagePlan.storages.enumerated() {
      add(
        "data/\(index)", tensors: storage.tensors.map(\.name),
        sourceByteCount: storage.tensors.reduce(0) { $0 + $1.byteCount },
        byteCount: storage.byteCount, storage.content)
    }
    add("version", Array("3\n".utf8))
    if !archive.metadata.isEmpty {
      let members = archive.metadata.mapValues { JSONValue.string($0) }
      add(
        PyTorchRecords.metadataName, Array(JSONValue.object(members).serialized(pretty: true).utf8))
    }
    zip.add(
      "\(Self.folder)/.data/serialization_id", byteCount: 40, alignment: Self.alignment
    ) { [names] in SharedBytes(Self.serializationID(names: names, checksums: $0).utf8) }
    return zip.plan()
  }

  /// Returns torch's `serialization_id`: 20 digits for the names and 20 for the content.
  private static func serializationID(names: [String], checksums: [UInt32]) -> String {
    let (seed, prime): (UInt64, UInt64) = (0xCBF2_9CE4_8422_2325, 0x100_0000_01B3)
    let name = names.joined().utf8.reduce(seed) { ($0 ^ UInt64($1)) &* prime }
    let content = checksums.reduce(seed) { ($0 ^ UInt64($1)) &* prime }
    return [name, content].map { number in
      let digits = "\(number)"
      return String(repeating: "0", count: 20 - digits.count) + digits
    }.joined()
  }

  // MARK: Objects

  private static func write(
    _ structure: ArchiveStructure, of archive: TensorArchive, _ plan: PyTorchStoragePlan,
    to writer: inout PickleWriter
  ) throws {
    switch structure {
    case .leaf(let name):
      try locatingErrors(tensor: name) {
        if let tensor = archive.tensors[name], let placement = plan.placements[name] {
          try write(tensor, at: placement, plan, to: &writer)
        } else if let value = archive.values[name] {
          try writer.write(value)
        }
      }
    // A placeholder is written, so that the other items of a list keep their places.
    case .unread: try writer.write(ArchiveValue.none)
    case .dictionary(let entries, let isOrdered):
      if isOrdered {
        writer.writeEmptyOrderedDict()
      } else {
        writer.write(.emptyDict)
      }
      let entries = entries.filter { entry in
        if case .unread = entry.value { false } else { true }
      }
      guard !entries.isEmpty else { return }
      writer.write(.mark)
      for entry in entries {
        try writer.write(entry.key)
        try write(entry.value, of: archive, plan, to: &writer)
      }
      writer.write(.setItems)
    case .tuple(let items):
      writer.write(.mark)
      for item in items { try write(item, of: archive, plan, to: &writer) }
      writer.write(.tuple)
    case .list(let items): try write(list: items, of: archive, plan, to: &writer)
    case .set(let items):
      writer.writeGlobal("__builtin__", "set")
      try write(list: items, of: archive, plan, to: &writer)
      writer.write(.tuple1)
      writer.write(.reduce)
    }
  }

  private static func write(
    list items: [ArchiveStructure], of archive: TensorArchive, _ plan: PyTorchStoragePlan,
    to writer: inout PickleWriter
  ) throws {
    writer.write(.emptyList)
    guard !items.isEmpty else { return }
    writer.write(.mark)
    for item in items { try write(item, of: archive, plan, to: &writer) }
    writer.write(.appends)
  }

  private static func write(
    _ tensor: Tensor, at placement: PyTorchStoragePlan.Placement, _ plan: PyTorchStoragePlan,
    to writer: inout PickleWriter
  ) throws {
    guard let dtype = PyTorchTypes.dtype(of: tensor.elementType) else {
      throw ModelError.unsupported("PyTorch has no element type \(tensor.elementType)")
    }
    var dimensions = tensor.shape.dimensions
    var strides = placement.strides
    if tensor.elementType == .float4E2M1 {
      // torch counts pairs of 4-bit numbers.
      guard let last = dimensions.last, last.isMultiple(of: 2),
        let pairs = Shape(dimensions.dropLast() + [last / 2])
      else {
        throw ModelError.unsupported(
          "PyTorch holds \(tensor.elementType) in pairs, but \(tensor.shape) has an odd row")
      }
      dimensions = pairs.dimensions
      strides = pairs.rowMajorStrides
    }
    let storage = plan.storages[placement.storage]
    let storageClass = PyTorchTypes.storageClass(of: tensor.elementType)
    let count =
      storageClass == nil
      ? storage.byteCount : storage.byteCount / (tensor.elementType.byteWidth ?? 1)

    writer.writeGlobal(
      "torch._utils", storageClass == nil ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2")
    writer.write(.mark)
    writer.write(.mark)
    try writer.writeRecurring("storage")
    if let storageClass {
      writer.writeGlobal("torch", storageClass)
    } else {
      writer.writeGlobal("torch.storage", "UntypedStorage")
    }
    try writer.write("\(placement.storage)")
    try writer.writeRecurring("cpu")
    writer.write(count)
    writer.write(.tuple)
    writer.write(.binPersID)
    writer.write(placement.elementOffset)
    writer.writeIntegers(dimensions)
    writer.writeIntegers(strides)
    writer.write(.newFalse)  // requires_grad
    writer.writeEmptyOrderedDict()  // backward hooks
    if storageClass == nil { writer.writeGlobal("torch", dtype) }
    writer.write(.tuple)
    writer.write(.reduce)
  }
}

extension PickleWriter {
  fileprivate mutating func writeEmptyOrderedDict() {
    writeGlobal("collections", "OrderedDict")
    write(.emptyTuple)
    write(.reduce)
  }
}

/// The storages of a checkpoint, and the place of each tensor in them.
///
/// Tensors whose bytes overlap in one `TensorStorage` share a storage in the output as well, so
/// tied weights stay tied and are written once. Every other tensor gets a compact storage.
struct PyTorchStoragePlan {
  struct Storage: Sendable {
    let elementType: ElementType
    let byteCount: Int
    let content: @Sendable () throws -> SharedBytes
    /// The tensors in the storage, for reporting progress.
    var tensors: [(name: String, byteCount: Int)] = []
  }

  struct Placement {
    /// Index into `storages`.
    let storage: Int
    let elementOffset: Int
    let strides: [Int]
  }

  private(set) var storages: [Storage] = []
  private(set) var placements: [String: Placement] = [:]

  private struct Span {
    let name: String
    let tensor: Tensor
    let storage: TensorStorage
    /// The bytes from the first element to the last.
    let range: Range<Int>
  }

  /// Tensors that overlap, directly or through others.
  private struct Cluster {
    let first: Span
    var names: [String] = []
    var range: Range<Int>
    var hasOneElementType = true

    init(_ span: Span) {
      first = span
      range = span.range
      names = [span.name]
    }

    mutating func add(_ span: Span) {
      names.append(span.name)
      range = range.lowerBound..<max(range.upperBound, span.range.upperBound)
      if span.tensor.elementType != first.tensor.elementType { hasOneElementType = false }
    }

    /// A lone tensor is written compactly, unless its strides repeat elements. PyTorch gives one
    /// storage one element type, so tensors of several types are separated.
    var isWorthSharing: Bool {
      names.count == 1 ? range.count < first.tensor.byteCount : hasOneElementType
    }
  }

  /// - Parameter tensors: in the order in which their storages are numbered.
  init(_ tensors: [(name: String, tensor: Tensor)]) {
    let clusters = Self.clusters(of: tensors.compactMap { Self.span($0.name, $0.tensor) })
    var clusterIndices: [String: Int] = [:]
    for (index, cluster) in clusters.enumerated() where cluster.isWorthSharing {
      for name in cluster.names { clusterIndices[name] = index }
    }
    var storageOfCluster: [Int: Int] = [:]
    for (name, tensor) in tensors {
      let placement: Placement
      if let index = clusterIndices[name], let view = tensor.view,
        let width = tensor.elementType.byteWidth
      {
        let cluster = clusters[index]
        let storage = storageOfCluster[index] ?? add(cluster)
        storageOfCluster[index] = storage
        placement = Placement(
          storage: storage, elementOffset: view.elementOffset - cluster.range.lowerBound / width,
          strides: view.strides)
      } else {
        placement = Placement(
          storage: add(name, tensor), elementOffset: 0, strides: tensor.shape.rowMajorStrides)
      }
      placements[name] = placement
      storages[placement.storage].tensors.append((name, tensor.byteCount))
    }
  }

  private mutating func add(_ name: String, _ tensor: Tensor) -> Int {
    storages.append(
      Storage(
        elementType: tensor.elementType, byteCount: tensor.byteCount,
        content: { try locatingErrors(tensor: name) { try tensor.bytes() } }))
    return storages.count - 1
  }

  private mutating func add(_ cluster: Cluster) -> Int {
    let (source, range, name) = (cluster.first.storage, cluster.range, cluster.first.name)
    storages.append(
      Storage(
        elementType: cluster.first.tensor.elementType, byteCount: range.count,
        content: { try locatingErrors(tensor: name) { try source.bytes().slice(range) } }))
    return storages.count - 1
  }

  private static func span(_ name: String, _ tensor: Tensor) -> Span? {
    guard let view = tensor.view, let width = tensor.elementType.byteWidth,
      tensor.shape.elementCount > 0
    else { return nil }
    let last = zip(tensor.shape.dimensions, view.strides).reduce(view.elementOffset) {
      $0 + ($1.0 - 1) * $1.1
    }
    return Span(
      name: name, tensor: tensor, storage: view.storage,
      range: view.elementOffset * width..<(last + 1) * width)
  }

  private static func clusters(of spans: [Span]) -> [Cluster] {
    var order: [ObjectIdentifier] = []
    var groups: [ObjectIdentifier: [Span]] = [:]
    for span in spans {
      let identity = ObjectIdentifier(span.storage)
      if groups[identity] == nil { order.append(identity) }
      groups[identity, default: []].append(span)
    }
    var clusters: [Cluster] = []
    for identity in order {
      var open: Cluster?
      for span in groups[identity, default: []].sorted(by: {
        ($0.range.lowerBound, $0.name) < ($1.range.lowerBound, $1.name)
      }) {
        if let end = open?.range.upperBound, span.range.lowerBound < end {
          open?.add(span)
        } else {
          if let open { clusters.append(open) }
          open = Cluster(span)
        }
      }
      if let open { clusters.append(open) }
    }
    return clusters
  }
}
