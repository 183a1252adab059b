import Formats
import OrderedCollections

/// A container, a tensor, a value, or what several dotted names begin with.
public struct TreeNode: Codable, Hashable, Sendable {
  /// What a node of the tree is: a container as Python names it, a leaf, or a common beginning.
  public enum Kind: String, Codable, Sendable {
    case dictionary, orderedDictionary, list, tuple, set
    case tensor, value
    /// What could not be read.
    case unread
    /// No object of the file: names that begin alike. Where a tensor's whole name is the beginning
    /// of others, the tensor itself has children.
    case group
  }

  /// A key, or an index in a list; for a group's children the rest of the name up to the next dot.
  /// Empty for the root.
  public var key: String
  /// What the node is.
  public var kind: Kind
  /// The name in the archive; tensors, values and what could not be read only.
  public var name: String?
  /// As `ElementType.rawValue`; tensors only.
  public var elementType: String?
  /// Dimensions, outermost first; tensors only.
  public var shape: [Int]?
  /// Bytes of this tensor; tensors only.
  public var byteCount: Int?
  /// Bytes of all tensors below, this one included, each counted as often as it is named.
  public var totalByteCount: Int
  /// Tensors below, this one included.
  public var tensorCount: Int
  /// The value as a person would write it in Python, or why there is none; values and what could not
  /// be read only.
  public var value: String?
  /// Direct children, listed or not.
  public var childCount: Int
  /// In the file's order; left out below the depth asked for, and for what has none.
  public var children: [TreeNode]?

  init(key: String, kind: Kind) {
    self.key = key
    self.kind = kind
    totalByteCount = 0
    tensorCount = 0
    childCount = 0
  }

  /// Appends `nodes`, and counts what they hold.
  mutating func adopt(_ nodes: [TreeNode]) {
    guard !nodes.isEmpty else { return }
    children = (children ?? []) + nodes
    childCount += nodes.count
    totalByteCount += nodes.reduce(0) { $0 + $1.totalByteCount }
    tensorCount += nodes.reduce(0) { $0 + $1.tensorCount }
  }

  /// Leaves out what lies more than `depth` levels below this node.
  mutating func cut(below depth: Int) {
    guard depth > 0 else {
      children = nil
      return
    }
    for index in (children ?? []).indices { children?[index].cut(below: depth - 1) }
  }
}

extension TreeNode {
  /// Names are split at no more dots than this: a name of nothing but dots is no deep structure.
  static let groupingLimit = 64

  /// The tree of a whole archive: its containers where the format has them, else its dotted names.
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
            // A number has no dots to split it at, even where it is written with one.
            guard case .text = entry.key else { return (nil, node) }
            return (key, node)
          }))
      // Groups are not what the file has: a dictionary counts its own entries.
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

  /// The nodes, with those whose keys have dots put below groups named by the parts.
  ///
  /// - Parameter items: a key to be split, or `nil` for a node that stays as it is.
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

  /// A tree under construction, which has to find children by their key.
  private final class Group {
    private enum Child {
      case node(TreeNode)
      case part(String)
    }

    /// Strings that differ only in their normalization are equal, but not the same name.
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
