//! Places for boxes and edges, in layers from top to bottom (Sugiyama, Tagawa & Toda 1981).
//!
//! ```text
//!   layer 0      [ relu ]            1. layers: a box lies below all that it reads
//!                  │   ╲             2. an edge over several layers gets a point in each between
//!   layer 1     [ conv ] ·           3. orders: each box near the mean of its neighbours
//!                  │    ╱            4. places: as near to them as the boxes beside it allow
//!   layer 2      [ add ]
//! ```

use std::collections::HashMap;

/// Pixels between two layers: room for the edges' labels.
const LAYER_GAP: f64 = 54.0;
/// Pixels between two boxes of a layer.
const BOX_GAP: f64 = 30.0;
/// Width that an edge takes on its way past the boxes of a layer.
const LANE: f64 = 26.0;
/// Sweeps down and up that order the layers, and that place the boxes.
const SWEEPS: usize = 12;

/// A box to be placed.
pub(super) struct Item {
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Where everything is.
pub(super) struct Layout {
    /// Middle of the top edge of each item.
    pub(super) places: Vec<[f64; 2]>,
    /// For each edge: the middle of each layer that it passes, and that layer's top and bottom.
    pub(super) lanes: Vec<Vec<[f64; 3]>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A box, or the point of an edge in a layer.
struct Node {
    width: f64,
    real: bool,
    x: f64,
}

/// Places `items`, which are numbered so that every edge `(from, to)` goes from a smaller to a larger number.
pub(super) fn layout(items: &[Item], edges: &[(usize, usize)]) -> Layout {
    let layer_of = layers(items, edges);
    let count = layer_of.iter().max().map_or(0, |last| last + 1);
    let mut nodes: Vec<Node> = items.iter().map(|item| Node { width: item.width, real: true, x: 0.0 }).collect();
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (item, &layer) in layer_of.iter().enumerate() {
        layers[layer].push(item);
    }
    // segments between neighbouring layers, and the points of each edge
    let mut segments: Vec<Vec<(usize, usize)>> = vec![Vec::new(); count];
    let mut points: Vec<Vec<usize>> = Vec::with_capacity(edges.len());
    for &(from, to) in edges {
        let mut last = from;
        let mut own = Vec::new();
        for layer in layer_of[from] + 1..layer_of[to] {
            nodes.push(Node { width: LANE, real: false, x: 0.0 });
            let point = nodes.len() - 1;
            layers[layer].push(point);
            segments[layer - 1].push((last, point));
            own.push(point);
            last = point;
        }
        segments[layer_of[to] - 1].push((last, to));
        points.push(own);
    }
    let near = Neighbours::new(nodes.len(), &segments);
    order(&mut layers, &near);
    place(&mut nodes, &layers, &near);

    let left = nodes.iter().map(|n| n.x - n.width / 2.0).fold(f64::INFINITY, f64::min);
    let right = nodes.iter().map(|n| n.x + n.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let heights = layers
        .iter()
        .map(|layer| layer.iter().filter(|&&n| n < items.len()).map(|&n| items[n].height).fold(0.0, f64::max));
    let mut tops = Vec::with_capacity(count);
    let mut y = 0.0;
    for height in heights {
        tops.push([y, y + height]);
        y += height + LAYER_GAP;
    }
    let places = (0..items.len()).map(|item| [nodes[item].x - left, tops[layer_of[item]][0]]).collect();
    let lane = |(&edge, own): (&(usize, usize), Vec<usize>)| {
        let first = layer_of[edge.0] + 1;
        own.iter()
            .enumerate()
            .map(|(i, &point)| [nodes[point].x - left, tops[first + i][0], tops[first + i][1]])
            .collect()
    };
    let lanes = edges.iter().zip(points).map(lane).collect();
    Layout { places, lanes, width: (right - left).max(0.0), height: (y - LAYER_GAP).max(0.0) }
}

/// The layer of each item: right below the lowest of what it reads.
fn layers(items: &[Item], edges: &[(usize, usize)]) -> Vec<usize> {
    let mut layer = vec![0; items.len()];
    let mut sorted = edges.to_vec();
    sorted.sort_unstable();
    for (from, to) in sorted {
        layer[to] = layer[to].max(layer[from] + 1);
    }
    layer
}

/// Neighbours in the layer above and in the layer below.
struct Neighbours {
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
}

impl Neighbours {
    fn new(nodes: usize, segments: &[Vec<(usize, usize)>]) -> Neighbours {
        let mut near = Neighbours { above: vec![Vec::new(); nodes], below: vec![Vec::new(); nodes] };
        for &(upper, lower) in segments.iter().flatten() {
            near.above[lower].push(upper);
            near.below[upper].push(lower);
        }
        near
    }
}

/// Orders each layer by the means of its neighbours' positions, and keeps the order with the fewest crossings.
fn order(layers: &mut [Vec<usize>], near: &Neighbours) {
    let mut best = (crossings(layers, near), layers.to_vec());
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let range: Vec<usize> =
            if down { (1..layers.len()).collect() } else { (0..layers.len().saturating_sub(1)).rev().collect() };
        for layer in range {
            let other = if down { layer - 1 } else { layer + 1 };
            let position: HashMap<usize, usize> = layers[other].iter().enumerate().map(|(at, &n)| (n, at)).collect();
            let mean = |at: usize, node: usize| {
                let neighbours = if down { &near.above[node] } else { &near.below[node] };
                let sum: usize = neighbours.iter().filter_map(|n| position.get(n)).sum();
                // without a neighbour it stays where it is
                if neighbours.is_empty() { at as f64 } else { sum as f64 / neighbours.len() as f64 }
            };
            let mut keyed: Vec<_> = layers[layer].iter().enumerate().map(|(at, &n)| (mean(at, n), n)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            layers[layer] = keyed.into_iter().map(|(_, n)| n).collect();
        }
        let now = crossings(layers, near);
        if now < best.0 {
            best = (now, layers.to_vec());
        }
    }
    layers.clone_from_slice(&best.1);
}

/// Pairs of segments that cross, over all layers.
fn crossings(layers: &[Vec<usize>], near: &Neighbours) -> usize {
    let mut crossings = 0;
    for pair in layers.windows(2) {
        let position: HashMap<usize, usize> = pair[1].iter().enumerate().map(|(at, &n)| (n, at)).collect();
        // segments by their upper end, then by their lower; each crosses those before it that end further right
        let mut seen = vec![0usize; pair[1].len() + 1];
        let mut total = 0;
        for node in &pair[0] {
            let mut ends: Vec<usize> = near.below[*node].iter().filter_map(|n| position.get(n).copied()).collect();
            ends.sort_unstable();
            for &end in &ends {
                crossings += total - prefix(&seen, end);
            }
            for end in ends {
                add(&mut seen, end);
                total += 1;
            }
        }
    }
    crossings
}

/// Of a binary indexed tree (Fenwick 1994): how many of its numbers are at most `at`.
fn prefix(tree: &[usize], at: usize) -> usize {
    let (mut index, mut sum) = (at + 1, 0);
    while index > 0 {
        sum += tree[index];
        index &= index - 1;
    }
    sum
}

fn add(tree: &mut [usize], at: usize) {
    let mut index = at + 1;
    while index < tree.len() {
        tree[index] += 1;
        index += index & index.wrapping_neg();
    }
}

/// Moves each layer to the means of its neighbours, as far as the order and the widths allow.
fn place(nodes: &mut [Node], layers: &[Vec<usize>], near: &Neighbours) {
    for layer in layers {
        settle(nodes, layer, |_| None);
    }
    for sweep in 0..SWEEPS {
        let last = sweep + 1 == SWEEPS;
        let from_above = |nodes: &[Node], n: usize| mean(nodes, n, near.above[n].iter());
        let from_below = |nodes: &[Node], n: usize| mean(nodes, n, near.below[n].iter());
        let from_both = |nodes: &[Node], n: usize| mean(nodes, n, near.above[n].iter().chain(&near.below[n]));
        for at in 0..layers.len() {
            let layer = &layers[if sweep % 2 == 0 { at } else { layers.len() - 1 - at }];
            let wanted: HashMap<usize, Option<f64>> = layer
                .iter()
                .map(|&n| {
                    let x = match (last, sweep % 2 == 0) {
                        (true, _) => from_both(nodes, n),
                        (false, true) => from_above(nodes, n),
                        (false, false) => from_below(nodes, n),
                    };
                    (n, x)
                })
                .collect();
            settle(nodes, layer, |n| wanted.get(&n).copied().flatten());
        }
    }
}

/// Straight is best between two boxes, and along a long edge; where such an edge ends matters least.
fn mean<'a>(nodes: &[Node], node: usize, neighbours: impl Iterator<Item = &'a usize>) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for &n in neighbours {
        let weight = if nodes[n].real == nodes[node].real { 50.0 } else { 1.0 };
        sum += weight * nodes[n].x;
        weights += weight;
    }
    (weights > 0.0).then(|| sum / weights)
}

/// The places nearest to those wanted (least squares, boxes counting more than points of edges) under which neighbours
/// keep their order and distance: isotonic regression by pooling adjacent violators (Ayer et al. 1955).
fn settle(nodes: &mut [Node], layer: &[usize], wanted: impl Fn(usize) -> Option<f64>) {
    // places without the distances between them must ascend
    let mut offset = 0.0;
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    let mut offsets = Vec::with_capacity(layer.len());
    for (at, &node) in layer.iter().enumerate() {
        if at > 0 {
            let before = &nodes[layer[at - 1]];
            let gap = if before.real && nodes[node].real { BOX_GAP } else { 6.0 };
            offset += (before.width + nodes[node].width) / 2.0 + gap;
        }
        offsets.push(offset);
        let weight = if nodes[node].real { 40.0 } else { 1.0 };
        let x = wanted(node).unwrap_or(nodes[node].x);
        pools.push((x - offset, weight, 1));
        while let [.., a, b] = pools[..]
            && a.0 > b.0
        {
            pools.pop();
            let weight = a.1 + b.1;
            let pooled = ((a.0 * a.1 + b.0 * b.1) / weight, weight, a.2 + b.2);
            pools.pop();
            pools.push(pooled);
        }
    }
    let mut at = 0;
    for (x, _, members) in pools {
        for _ in 0..members {
            nodes[layer[at]].x = x + offsets[at];
            at += 1;
        }
    }
}
