import OrderedCollections

/// The weights of one network in a checkpoint.
public struct CheckpointNetwork: Hashable, Sendable {
  /// What all its names begin with, for `TensorArchive.selecting(root:)`; `nil` for the whole file.
  public let root: String?
  /// Tensors below the root.
  public let tensorCount: Int
}

extension TensorArchive {
  /// The networks of a checkpoint, the one to take first.
  ///
  /// Dictionaries and prefixes that training tools put around weights are seen through: roots such as
  /// `params_ema` and `state_dict`, `module.` of `DataParallel`, `_orig_mod.` of `torch.compile`,
  /// `model.` and `generator.` below the root of a training checkpoint. The file as a whole is always
  /// among them.
  ///
  /// ```swift
  /// let archive = try FormatRegistry.standard.open("gan.ckpt")
  /// for network in archive.networks { print(network.root ?? "all", network.tensorCount) }
  /// ```
  public var networks: [CheckpointNetwork] {
    var search = WrapperSearch(self)
    var roots = [search.unwrapped("")]
    search.seesThroughAll = true
    roots.append(search.unwrapped(""))
    // Looking below one may find more.
    var index = 0
    while index < min(search.others.count, Self.networkLimit) {
      roots.append(search.unwrapped(search.others[index]))
      index += 1
    }
    let all = OrderedSet(roots + [""])
    return all.map { root in
      CheckpointNetwork(root: root.isEmpty ? nil : root, tensorCount: search.count(below: root))
    }
  }

  /// More dictionaries than this are not looked into.
  private static let networkLimit = 64

  /// The root below which this checkpoint keeps its weights; `nil` where it is the whole file.
  public var conventionalRoot: String? { networks.first?.root }

  /// Last parts of the names of counters that training tools leave among weights.
  package static let counterNames: Set<String> = [
    "total_ops", "total_params", "num_batches_tracked", "n_averaged",
  ]
}

/// Looks for weights below what training tools put around them.
private struct WrapperSearch {
  private let archive: TensorArchive
  /// Whether prefixes that may as well be a module of the network's own are seen through everywhere,
  /// and not only inside a checkpoint.
  var seesThroughAll = false
  /// Roots of other networks beside those that were taken.
  private(set) var others: [String] = []

  init(_ archive: TensorArchive) { self.archive = archive }

  /// Dictionaries that hold a model's weights, the preferred one first.
  private static let dictionaries = [
    "params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net",
    "weights", "net_g_ema", "net_g", "netG", "generator_ema", "generator", "gen", "network",
    "model_state", "ema_model", "ema", "module", "G",
  ]
  /// Prefixes that no network has of its own.
  private static let prefixes: Set<String> = [
    "module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module", "params_ema", "params-ema", "params", "state_dict",
    "model_state_dict",
  ]
  /// Prefixes of the network in a training tool's own module, the preferred one first.
  private static let generators = [
    "params_ema", "params-ema", "net_g_ema", "generator_ema", "ema_model", "net_g", "netG",
    "generator", "params", "model", "net", "network",
  ]
  /// The generators that a network may have as modules of its own.
  private static let ambiguousGenerators: Set<String> = ["model", "net", "network"]
  /// What stands beside a generator, by how it begins.
  private static let companions = [
    "discriminator", "disc", "net_d", "netD", "critic", "perceptual", "vgg", "lpips", "criterion",
    "loss", "cri_", "params", "net_g", "netG", "generator", "ema", "online_model", "metric",
    "val_", "train_", "teacher",
  ]
  /// What holds tensors in a training checkpoint that are no weights, by a part of its name.
  private static let states = ["optim", "sched", "scaler", "rng", "callback", "loop", "config"]

  func count(below root: String) -> Int {
    root.isEmpty
      ? archive.tensors.count : archive.tensors.keys.count { $0.hasPrefix("\(root).") }
  }

  /// The root of the network below `root`, which is `root` itself where nothing is around it.
  mutating func unwrapped(_ root: String) -> String {
    var root = root
    var isCheckpoint = !root.isEmpty
    while let next = step(below: root, isCheckpoint: isCheckpoint) {
      // What is only a prefix does not make a file a checkpoint.
      isCheckpoint = isCheckpoint || !Self.prefixes.contains(next.name) || next.isContainer
      root = ArchiveStructure.join(root, next.name)
    }
    return root
  }

  private mutating func step(below root: String, isCheckpoint: Bool) -> (
    name: String, isContainer: Bool
  )? {
    let level = Level(archive, below: root)
    let containers = level.containers
    if let name = Self.dictionaries.first(where: { containers[$0] == .dictionary }) {
      addOthers(containers.keys.filter { $0 != name }, below: root)
      return (name, true)
    }
    let parts = level.parts
    if parts.count == 1, let name = parts.first, !level.hasLooseTensors {
      let isSeenThrough =
        Self.prefixes.contains(name) || containers[name] == .item
        || (isCheckpoint || seesThroughAll) && Self.generators.contains(name)
      if isSeenThrough { return (name, containers[name] != nil) }
    }
    if !level.hasLooseTensors,
      let name = Self.generators.first(where: { generator in
        parts.contains(generator)
          && (isCheckpoint || seesThroughAll || !Self.ambiguousGenerators.contains(generator))
          && parts.allSatisfy { part in
            part == generator || Self.companions.contains { part.hasPrefix($0) }
          }
      })
    {
      addOthers(parts.filter { $0 != name }, below: root)
      return (name, containers[name] != nil)
    }
    if seesThroughAll { addOthers(Array(containers.keys), below: root) }
    return nil
  }

  private mutating func addOthers(_ names: [String], below root: String) {
    for name in names where !Self.states.contains(where: { name.lowercased().contains($0) }) {
      let other = ArchiveStructure.join(root, name)
      if !others.contains(other) { others.append(other) }
    }
  }

  /// What lies directly below a root.
  private struct Level {
    enum Container { case dictionary, item }

    /// First parts of names that have others, in the order of the file.
    let parts: OrderedSet<String>
    /// Whether tensors of more than one number have no further part, so that weights begin here.
    let hasLooseTensors: Bool
    /// Dictionaries and items of lists with tensors in them.
    let containers: OrderedDictionary<String, Container>

    init(_ archive: TensorArchive, below root: String) {
      var parts: OrderedSet<String> = []
      var hasLooseTensors = false
      let prefix = root.isEmpty ? "" : "\(root)."
      for (name, tensor) in archive.tensors where name.hasPrefix(prefix) {
        let rest = name.dropFirst(prefix.count)
        if let dot = rest.firstIndex(of: ".") {
          if !TensorArchive.counterNames.contains(String(rest[rest.index(after: dot)...])) {
            parts.append(String(rest[..<dot]))
          }
        } else if tensor.shape.elementCount > 1 {
          hasLooseTensors = true
        }
      }
      self.parts = parts
      self.hasLooseTensors = hasLooseTensors
      var containers: OrderedDictionary<String, Container> = [:]
      func add(_ name: String, _ value: ArchiveStructure, as kind: Container) {
        let full = "\(prefix)\(name)."
        guard case .dictionary = value, archive.tensors.keys.contains(where: { $0.hasPrefix(full) })
        else { return }
        containers[name] = kind
      }
      switch root.isEmpty ? archive.structure : archive.structure?.subtree(at: root) {
      case .dictionary(let entries, _):
        for entry in entries {
          add(ArchiveStructure.component(of: entry.key), entry.value, as: .dictionary)
        }
      case .list(let items), .tuple(let items):
        for (index, item) in items.enumerated() { add("\(index)", item, as: .item) }
      default: break
      }
      self.containers = containers
    }
  }
}
