//! Window functions.

use super::aggregate::is_aggregate;
use crate::exec::R;
use crate::exec::node::Node;
use crate::exec::plan::{Window, WindowKind};
use crate::exec::scope::Scope;
use crate::exec::session::SessionState;
use crate::sql::ast::{Call, Edge};
use crate::value::{SqlError, Ty, Val};

impl SessionState {
    pub(super) fn window_node(&mut self, name: &str, c: &Call, sc: &Scope<'_>) -> R<Node> {
        if !sc.grouping.borrow().windows_allowed {
            return Err(SqlError::new(
                4108,
                "Windowed functions can only appear in the SELECT or ORDER BY clauses.",
            ));
        }
        let Some(over) = &c.over else { return Err(SqlError::unknown_function(name)) };
        sc.grouping.borrow_mut().windows_allowed = false;
        let compiled = self.window(name, c, over, sc);
        sc.grouping.borrow_mut().windows_allowed = true;
        let window = compiled?;
        let mut g = sc.grouping.borrow_mut();
        let nullable = !matches!(
            window.kind,
            WindowKind::RowNumber | WindowKind::Rank | WindowKind::DenseRank | WindowKind::Ntile(_)
        );
        let n = Node::column(0, g.window_slot, g.windows.len(), window.ty, nullable);
        g.windows.push(window);
        Ok(n)
    }

    fn window(
        &mut self,
        name: &str,
        c: &Call,
        over: &crate::sql::ast::Over,
        sc: &Scope<'_>,
    ) -> R<Window> {
        let partition =
            over.partition.iter().map(|p| self.compile(p, sc)).collect::<R<Vec<_>>>()?;
        let order = self.order_nodes(&over.order, sc)?;
        let need_order = || -> R<()> {
            if over.order.is_empty() {
                let m = format!("The function '{name}' must have an OVER clause with ORDER BY.");
                return Err(SqlError::new(4112, m).class(15));
            }
            Ok(())
        };
        let mut args = self.args(c, sc)?.into_iter();
        let (kind, ty) = match name {
            "row_number" => {
                need_order()?;
                (WindowKind::RowNumber, Ty::BigInt)
            }
            "rank" => {
                need_order()?;
                (WindowKind::Rank, Ty::BigInt)
            }
            "dense_rank" => {
                need_order()?;
                (WindowKind::DenseRank, Ty::BigInt)
            }
            "percent_rank" => (WindowKind::PercentRank, Ty::Float),
            "cume_dist" => (WindowKind::CumeDist, Ty::Float),
            "ntile" => {
                need_order()?;
                let n = args.next().ok_or_else(|| SqlError::argument_count("ntile", 1))?;
                (WindowKind::Ntile(n), Ty::BigInt)
            }
            "lag" | "lead" => {
                need_order()?;
                let value = args.next().ok_or_else(|| SqlError::argument_count(name, 1))?;
                let offset = args.next().unwrap_or_else(|| Node::constant(Ty::Int, Val::Int(1)));
                let ty = value.ty;
                let default = args.next().map(|d| d.cast(ty));
                (WindowKind::Shift { value, offset, default, forward: name == "lead" }, ty)
            }
            "first_value" | "last_value" => {
                need_order()?;
                let value = args.next().ok_or_else(|| SqlError::argument_count(name, 1))?;
                let ty = value.ty;
                (
                    if name == "first_value" {
                        WindowKind::First(value)
                    } else {
                        WindowKind::Last(value)
                    },
                    ty,
                )
            }
            _ if is_aggregate(name) => {
                let plain = Call { over: None, ..c.clone() };
                let a = self.aggregate(name, &plain, sc)?;
                let ty = a.ty;
                (WindowKind::Aggregate(a), ty)
            }
            _ => return Err(SqlError::unknown_function(name)),
        };
        let frame = over.frame.as_ref().map(|f| (f.rows, f.from, f.to));
        let frame =
            frame.or_else(|| (!order.is_empty()).then_some((false, Edge::First, Edge::Current)));
        Ok(Window { kind, ty, partition, order, frame })
    }
}
