import Formats
import OrderedCollections

/// A container, a tensor, a value, or a common prefix of several dotted names.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("checkpoint.pth")
/// let root = TreeReport(archive: archive, file: "checkpoint.pth").root
/// for node in root.children ?? [] { print(node.key, node.kind, node.totalByteCount) }
/// ```
public struct TreeNode: Codable, Hashable, Sendable {
  /// The kind of a node: a container by its Python type, a leaf, or a common prefix.
  public enum Kind: String, Codable, Sendable {
    case dictionary, orderedDictionary, list, tuple, set
    case tensor, value
    /// An item that could not be read.
    case unread
    /// A common prefix of names, which is not an object of the file. If a tensor's whole name is a
    /// prefix of others, the tensor itself has children.
    case group
  }

  /// A key, or an index in a list; for a child of a group, the next part of the dotted name. Empty
  /// for the root.
  public var key: String
  /// The kind of the node.
  public var kind: Kind
  /// The name in the archive, for tensors, values and unread items.
  public var name: String?
  /// The element type as `ElementType.rawValue`, for tensors.
  public var elementType: String?
  /// The dimensions, outermost first, for tensors.
  public var shape: [Int]?
  /// The bytes of this tensor, for tensors.
  public var byteCount: Int?
  /// The bytes of all tensors below and including this one, counted once per name.
  public var totalByteCount: Int
  /// The number of tensors below and including this one.
  public var tensorCount: Int
  /// The value in Python notation, or the reason it is missing, for values and unread items.
  public var value: String?
  /// The number of direct children, listed or not.
  public var childCount: Int
  /// The children in the file's order; `nil` below the requested depth and for nodes without
  /// children.
  public var children: [TreeNode]?

  init(key: String, kind: Kind) {
    self.key = key
    self.kind = kind
    totalByteCount = 0
    tensorCount = 0
    childCount = 0
  }

  /// Appends `nodes` and adds their counts.
  mutating func adopt(_ nodes: [TreeNode]) {
    guard !nodes.isEmpty else { return }
    children = (children ?? []) + nodes
    childCount += nodes.count
    totalByteCount += nodes.reduce(0) { $0 + $1.totalByteCount }
    tensorCount += nodes.reduce(0) { $0 + $1.tensorCount }
  }

  /// Removes everything more than `depth` levels below this node.
  mutating func cut(below depth: Int) {
    guard depth > 0 else {
      children = nil
      return
    }
    for index in (children ?? []).indices { children?[index].cut(below: depth - 1) }
  }
}

extension TreeNode {
  /// The largest number of dots at which a name is split, because a name of nothing but dots is not
  /// a deep structure.
  static let groupingLimit = 64

  /// Creates the tree of a whole archive, from its containers if the format has them, otherwise
  /// from its dotted names.
  init(archive: TensorArchive) {
    if let structure = archive.structure {
      self.init(structure, key: "", in: archive)
    } else {
      let names = Array(archive.tensors.keys) + archive.values.keys
      self.init(key: "", kind: .group)
      adopt(
        Self.grouped(
          names.map { (key: $0, node: Self(leaf: $0, key: $0, in: archive)) }
            + archive.unread.map { (key: $0.name, node: Self(unread: $0, key: $0.name)) }))
    }
  }

  private init(_ structure: ArchiveStructure, key: String, in archive: TensorArchive) {
    switch structure {
    case .leaf(let name):
      self.init(leaf: name, key: key, in: archive)
    case .unread(let name):
      let entry = archive.unread.first { $0.name == name }
      self.init(unread: entry ?? UnreadEntry(name: name, kind: "", reason: ""), key: key)
    case .dictionary(let entries, let isOrdered):
      self.init(key: key, kind: isOrdered ? .orderedDictionary : .dictionary)
      adopt(
        Self.grouped(
          entries.map { entry in
            let key = ArchiveStructure.component(of: entry.key)
            let node = TreeNode(entry.value, key: key, in: archive)
            // A number has no dots to split at, even if it is written with one.
            guard case .text = entry.key else { return (nil, node) }
            return (key, node)
          }))
      // Groups are not objects of the file: a dictionary counts its own entries.
      childCount = entries.count
    case .list(let items):
      self.init(key: key, kind: .list)
      adopt(Self.indexed(items, in: archive))
    case .tuple(let items):
      self.init(key: key, kind: .tuple)
      adopt(Self.indexed(items, in: archive))
    case .set(let items):
      self.init(key: key, kind: .set)
      adopt(Self.indexed(items, in: archive))
    }
  }

  private init(leaf name: String, key: String, in archive: TensorArchive) {
    if let tensor = archive.tensors[name] {
      self.init(key: key, kind: .tensor)
      elementType = tensor.elementType.rawValue
      shape = tensor.shape.dimensions
      byteCount = tensor.byteCount
      totalByteCount = tensor.byteCount
      tensorCount = 1
    } else {
      self.init(key: key, kind: .value)
      value = archive.values[name]?.description
    }
    self.name = name
  }

  private init(unread entry: UnreadEntry, key: String) {
    self.init(key: key, kind: .unread)
    name = entry.name
    value = "\(entry.kind), \(entry.reason)"
  }

  private static func indexed(_ items: [ArchiveStructure], in archive: TensorArchive) -> [TreeNode]
  {
    items.enumerated().map { TreeNode($1, key: "\($0)", in: archive) }
  }

  // MARK: Dotted names

  /// Returns the nodes, with those whose keys contain dots moved into groups named after the parts.
  ///
  /// - Parameter items: Each node with the key to split, or `nil` to keep the node as it is.
  private static func grouped(_ items: [(key: String?, node: TreeNode)]) -> [TreeNode] {
    let root = Group()
    for (key, node) in items {
      guard let key else {
        root.append(node)
        continue
      }
      let parts = key.split(
        separator: ".", maxSplits: groupingLimit, omittingEmptySubsequences: false)
      root.insert(node, at: parts.map(String.init)[...])
    }
    return root.nodes()
  }

  /// A tree under construction, with children indexed by key.
  private final class Group {
    private enum Child {
      case node(TreeNode)
      case part(String)
    }

    /// UTF-8 bytes, because strings that differ only in normalization are equal but not the same
    /// name.
    private typealias Spelling = [UInt8]

    private var order: [Child] = []
    private var parts: [Spelling: (node: TreeNode?, group: Group)] = [:]

    func append(_ node: TreeNode) { order.append(.node(node)) }

    func insert(_ node: TreeNode, at path: ArraySlice<String>) {
      guard let part = path.first else { return }
      let spelling = Spelling(part.utf8)
      if parts[spelling] == nil {
        order.append(.part(part))
        parts[spelling] = (nil, Group())
      }
      if path.count > 1 {
        parts[spelling]?.group.insert(node, at: path.dropFirst())
      } else {
        parts[spelling]?.node = node
      }
    }

    func nodes() -> [TreeNode] {
      order.compactMap { child in
        switch child {
        case .node(let node): return node
        case .part(let part):
          guard let (leaf, group) = parts[Spelling(part.utf8)] else { return nil }
          var node = leaf ?? TreeNode(key: part, kind: .group)
          node.key = part
          node.adopt(group.nodes())
          return node
        }
      }
    }
  }
}
