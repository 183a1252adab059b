/// The nested containers of a checkpoint, whose leaves refer to the archive by name.
///
/// A format with nesting (PyTorch) provides a structure; other formats do not, and their tensors
/// are a flat list of names. Leaves refer to `TensorArchive.tensors` and `TensorArchive.values` by
/// their dotted name, so that the containers never hold data.
///
/// ```swift
/// let bytes = SharedBytes(elementsOf: [Float(1), 2])
/// let bias = try Tensor(elementType: .float32, shape: [2], bytes: bytes)
/// let entry = ArchiveStructure.Entry(key: .text("bias"), value: .leaf("bias"))
/// var archive = TensorArchive(tensors: ["bias": bias])
/// archive.structure = .dictionary([entry], isOrdered: false)
/// try FormatRegistry.standard.write(archive, as: PyTorchFormat(), to: "bias.pth")
/// // torch.load("bias.pth") is {'bias': tensor([1., 2.])}
/// ```
public indirect enum ArchiveStructure: Hashable, Sendable {
  /// A tensor or a value of the archive, by its name there.
  case leaf(String)
  /// Python's `dict`, or its `OrderedDict`; entries keep the file's order.
  case dictionary([Entry], isOrdered: Bool)
  /// Python's `list`; children are named by their indices, from 0.
  case list([ArchiveStructure])
  /// Python's `tuple`; children are named by their indices, from 0.
  case tuple([ArchiveStructure])
  /// Python's `set` or `frozenset`, in the file's order.
  case set([ArchiveStructure])
  /// An entry that was left out, by its name in `TensorArchive.unread`.
  case unread(String)

  /// A key and the content under it.
  public struct Entry: Hashable, Sendable {
    /// The key, usually a string; integers occur in optimizer states.
    public var key: ArchiveValue
    /// The content under the key.
    public var value: ArchiveStructure

    public init(key: ArchiveValue, value: ArchiveStructure) {
      self.key = key
      self.value = value
    }
  }

  /// Joins a container's name and a key or index into the name of the child.
  package static func join(_ parent: String, _ child: String) -> String {
    parent.isEmpty ? child : "\(parent).\(child)"
  }

  /// Returns the component of a dotted name that a dictionary key stands for.
  package static func component(of key: ArchiveValue) -> String {
    switch key {
    case .text(let text): text
    default: key.description
    }
  }

  /// Returns the structure with every leaf renamed.
  func renamingLeaves(_ rename: (String) -> String) -> ArchiveStructure {
    switch self {
    case .leaf(let name): .leaf(rename(name))
    case .unread(let name): .unread(rename(name))
    case .dictionary(let entries, let isOrdered):
      .dictionary(
        entries.map { Entry(key: $0.key, value: $0.value.renamingLeaves(rename)) },
        isOrdered: isOrdered)
    case .list(let items): .list(items.map { $0.renamingLeaves(rename) })
    case .tuple(let items): .tuple(items.map { $0.renamingLeaves(rename) })
    case .set(let items): .set(items.map { $0.renamingLeaves(rename) })
    }
  }

  /// The names of the leaves, in order.
  var leafNames: [String] {
    switch self {
    case .leaf(let name): [name]
    case .unread: []
    case .dictionary(let entries, _): entries.flatMap(\.value.leafNames)
    case .list(let items), .tuple(let items), .set(let items): items.flatMap(\.leafNames)
    }
  }
}
