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
