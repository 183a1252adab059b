/// Which storages a checkpoint gets, and where in them each tensor lies.
///
/// Tensors whose bytes overlap in one `TensorStorage` share a storage in the output as well, so that
/// tied weights stay tied and are written once. Every other tensor gets a compact storage.
struct PyTorchStoragePlan {
  struct Storage {
    let elementType: ElementType
    let byteCount: Int
    let content: () throws -> SharedBytes
    /// The tensors first met here, for reporting progress.
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
